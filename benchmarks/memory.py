"""How much memory is used, and how much there is."""

import contextlib
import pathlib
import resource
import sys

import torch

PROC = pathlib.Path("/proc")


def reset_peak(device):
    """Forget what was used so far, where the system lets one."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # not on Linux
        (PROC / "self/clear_refs").write_text("5")


def peak_bytes(device):
    """The most since the reset, or since the start where none is possible: on
    a CPU of the process with its libraries, on CUDA of PyTorch's tensors.
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        return kibibytes("self/status", "VmHWM") * 1024
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return usage * (1 if sys.platform == "darwin" else 1024)


def available_bytes(device):
    """How much more may be used, or infinity where that is not known."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with contextlib.suppress(OSError):
        return kibibytes("meminfo", "MemAvailable") * 1024
    return float("inf")


def kibibytes(name, key):
    """An entry of a file of Linux's."""
    for line in (PROC / name).read_text(encoding="utf-8").splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    raise OSError(f"{name} has no {key}")
