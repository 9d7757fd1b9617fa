"""What training needs and SpeechBrain does not have, or has with a defect."""

import contextlib
import ctypes
import gc
import platform
import shutil
import signal
import sys

import torch
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.distributed import (
    ddp_barrier,
    get_rank,
    if_main_process,
    is_distributed_initialized,
    run_on_main,
)
from speechbrain.utils.epoch_loop import EpochCounterWithStopper

from .errors import UserError, first_line


class EarlyStopping(EpochCounterWithStopper):
    """SpeechBrain's early stopping, mended for metrics below zero.

    The parent asks for a relative improvement of 1e-6 but gets its sign
    wrong for negative metrics, such as a loss in -dB: a constant value then
    counts as an improvement for ever. Here any improvement counts. The number
    of the epoch, `current`, is in shared memory, where the workers of a
    loader that lives for several epochs see it too.

    Example
    -------
    >>> counter = EarlyStopping(
    ...     limit=10, limit_to_stop=2, limit_warmup=0, direction="min")
    >>> for epoch in counter:
    ...     counter.update_metric(-10.0)
    >>> epoch
    3
    """

    def __init__(self, limit, limit_to_stop, limit_warmup, direction):
        self._current = torch.zeros((), dtype=torch.int64).share_memory_()
        super().__init__(limit, limit_to_stop, limit_warmup, direction)
        self.min_delta = 0.0

    @property
    def current(self):
        """The number of the epoch, from 1; 0 before the first."""
        return int(self._current)

    @current.setter
    def current(self, number):
        self._current.fill_(number)


class AtomicCheckpointer(Checkpointer):
    """SpeechBrain's checkpointer, mended to show whole checkpoints only.

    The parent's checkpoint counts from its first file on, so that a full
    disk or a kill leaves one that cannot be loaded in front of the good
    ones. Here it gets its name when all of it is written.
    """

    PARTIAL = "partial+"

    def _new_checkpoint_dirpath(self):
        final = super()._new_checkpoint_dirpath()
        return final.with_name(self.PARTIAL + final.name)

    def save_checkpoint(self, *args, **kwargs):
        """See the parent; a failure is a `UserError` and leaves no trace."""
        try:
            saved = super().save_checkpoint(*args, **kwargs)
        except (OSError, RuntimeError) as error:
            self._remove_partial()
            raise UserError(
                f"Cannot save a checkpoint in {self.checkpoints_dir}: "
                f"{first_line(error)}. If the disk is full, free some space "
                "and run the same command again: earlier checkpoints are "
                "whole."
            ) from error
        if saved is not None:  # the main process
            name = saved.path.name.removeprefix(self.PARTIAL)
            final = saved.path.with_name(name)
            saved.path.rename(final)
            self._remove_partial()
            files = {k: final / p.name for k, p in saved.paramfiles.items()}
            saved = saved._replace(path=final, paramfiles=files)
        ddp_barrier()  # the other processes list the checkpoints next
        return saved

    def load_checkpoint(self, checkpoint):
        """See the parent; one of another model is a `UserError`."""
        try:
            super().load_checkpoint(checkpoint)
        except RuntimeError as error:
            raise UserError(
                f"{checkpoint.path} does not fit this model "
                f"({first_line(error)}). Choose another --output_folder, or "
                "the hparams it was trained with."
            ) from error

    def _remove_partial(self):
        """Remove what failed or killed saves have left."""
        if not if_main_process():
            return
        for folder in self.checkpoints_dir.glob(self.PARTIAL + "*"):
            shutil.rmtree(folder, ignore_errors=True)


def fastest_precision():
    """The training precision that this machine computes fastest.

    bf16 on CPUs and GPUs with instructions for it, fp32 on others, where
    bf16 is emulated.

    Returns
    -------
    str
        "bf16" or "fp32".
    """
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        try:
            with open("/proc/cpuinfo", encoding="ascii") as file:
                flags = file.read()
        except OSError:
            flags = ""
        x86 = platform.machine() in ("x86_64", "AMD64")
        native = x86 and ("avx512_bf16" in flags or "amx_bf16" in flags)
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


class Shard(torch.utils.data.Dataset):
    """This process's part of a dataset: every n-th item of n processes.

    Unlike DistributedSampler it repeats no item to make the parts equal, so
    that each utterance is scored once.

    Arguments
    ---------
    dataset : Dataset
        What to share among the processes.
    """

    def __init__(self, dataset):
        self.dataset = dataset
        ranks = (
            torch.distributed.get_world_size()
            if is_distributed_initialized()
            else 1
        )
        rank = get_rank() if ranks > 1 else 0
        self.indices = range(rank, len(dataset), ranks)

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        return self.dataset[self.indices[index]]


def gather(value):
    """The values that all processes hold, as a list, in order of rank."""
    if not is_distributed_initialized():
        return [value]
    values = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def on_main(function, **arguments):
    """Call a function on the main process while the others wait.

    Its `UserError` is raised on all processes, so that none of them waits
    for ever or ends in a traceback.

    Arguments
    ---------
    function : callable
        What to call.
    **arguments
        Its keyword arguments.

    Returns
    -------
    object
        What the function returned, on all processes; it has to be picklable.
    """

    def attempt():
        try:
            return function(**arguments), None
        except UserError as error:
            return None, error

    value, error = run_on_main(attempt)
    if error is not None:
        raise error
    return value


@contextlib.contextmanager
def exit_on_sigterm():
    """Make SIGTERM an exception within the block, so that what is half
    written is removed.

    Not for training: a process that waits for others could not be ended.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def leave_group():
    """Leave the group of processes, all at the same time.

    A process that leaves while others still use its connections, or while
    a model in a reference cycle still holds the group, may be aborted.
    """
    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
