"""What a machine computes fastest, and how it keeps its memory."""

import contextlib
import ctypes

import torch


def fastest_precision():
    """The training precision that this machine computes fastest: "bf16" on CPUs
    and GPUs with instructions for it, "fp32" on others, where bf16 is emulated.
    """
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        try:
            with open("/proc/cpuinfo", encoding="ascii") as file:
                flags = file.read()
        except OSError:
            flags = ""
        native = "avx512_bf16" in flags or "amx_bf16" in flags
    return "bf16" if native else "fp32"


def reuse_memory():
    """Let the C library keep freed memory instead of giving it back.

    A training step on a CPU frees and takes the same large tensors again and
    again; with glibc's defaults each of them is mapped and zeroed anew by the
    kernel, which took a fifth of the time of a step of `mini.yaml`. Elsewhere than on
    glibc this does nothing.
    """
    mmap_threshold, trim_threshold, top_pad = -3, -1, -2  # malloc.h
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(mmap_threshold, 32 << 20)  # the largest that it takes
        mallopt(trim_threshold, (1 << 31) - 1)
        mallopt(top_pad, 256 << 20)
