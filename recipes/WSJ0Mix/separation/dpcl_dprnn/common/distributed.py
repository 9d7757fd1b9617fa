"""Several processes that train or score together, on one machine or many."""

import gc

import torch
from speechbrain.utils.distributed import (
    get_rank,
    is_distributed_initialized,
    run_on_main,
)

from .errors import UserError, first_line


def place():
    """The number of this process, from 0, and how many there are.

    Example
    -------
    >>> place()
    (0, 1)
    """
    if not is_distributed_initialized():
        return 0, 1
    return get_rank(), torch.distributed.get_world_size()


class Shard(torch.utils.data.Subset):
    """This process's part of a dataset: every n-th item of n processes.

    Unlike DistributedSampler it repeats no item to make the parts equal, so
    that each utterance is scored once.
    """

    def __init__(self, dataset):
        rank, ranks = place()
        super().__init__(dataset, range(rank, len(dataset), ranks))


def gather(value):
    """The values that all processes hold, as a list, in order of rank."""
    if not is_distributed_initialized():
        return [value]
    values = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def highest(values, device):
    """The highest of each value on any of the processes, as floats.

    Each has as many; of a flag it is whether any has it set. The device is that
    of training, which the backend can send from.

    Example
    -------
    >>> highest([True, False, 0.5], "cpu")
    [1.0, 0.0, 0.5]
    """
    if not is_distributed_initialized():
        return [float(value) for value in values]
    most = torch.tensor(values, dtype=torch.float32, device=device)
    torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
    return most.tolist()


def on_main(function, **arguments):
    """Call a function on the main process while the others wait.

    What it returns, which has to be picklable, all of them get. Its `UserError`
    is raised on all, so that none waits for ever or ends in a traceback.
    """

    def _attempt():
        try:
            return function(**arguments), None
        except UserError as error:
            return None, error

    value, error = run_on_main(_attempt)
    if error is not None:
        error.everywhere = True
        raise error
    return value


def lost_process(error):
    """One line on a process, or memory, that is gone; None of other errors.

    PyTorch raises a `RuntimeError` where a worker of a loader dies, and in a
    process of a distributed run where another one does.

    Example
    -------
    >>> lost_process(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "))
    'A worker that loads data has died (DataLoader worker (pid 7) is killed by signal: Killed). If memory ran out, lower --num_workers or --batch_size; the same command goes on from the last checkpoint.'
    """
    line = first_line(error).rstrip(". ")
    if isinstance(error, torch.OutOfMemoryError):
        return f"The GPU's memory is full ({line}). Lower --batch_size."
    if "DataLoader worker" in line:
        return (
            f"A worker that loads data has died ({line}). If memory ran out, "
            "lower --num_workers or --batch_size; the same command goes on "
            "from the last checkpoint."
        )
    # The errors of NCCL and of the store have a type; Gloo's name its files.
    is_gloos = "gloo" in str(error).lower()
    if isinstance(error, torch.distributed.DistError) or is_gloos:
        return (
            f"Another process of this run has ended ({line[:200]}). Its own "
            "message says why; the same command goes on from the last "
            "checkpoint."
        )
    return None


def leave_group():
    """Leave the group of processes, all at the same time.

    A process that leaves while others still use its connections, or while
    a model in a reference cycle still holds the group, may be aborted.
    """
    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
