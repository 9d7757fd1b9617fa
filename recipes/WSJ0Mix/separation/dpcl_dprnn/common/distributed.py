"""Several processes that train or score together, on one machine or many."""

import gc

import torch
from speechbrain.utils.distributed import (
    get_rank,
    is_distributed_initialized,
    run_on_main,
)

from .errors import UserError


def place():
    """The number of this process, and how many there are.

    Returns
    -------
    rank : int
    ranks : int

    Example
    -------
    >>> place()
    (0, 1)
    """
    if not is_distributed_initialized():
        return 0, 1
    return get_rank(), torch.distributed.get_world_size()


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
        rank, ranks = place()
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


def highest(values, device):
    """The highest of each value on any of the processes.

    Arguments
    ---------
    values : list of bool or float
        As many on every process; of a flag it is whether any has it set.
    device : torch.device or str
        That of training, which the backend can send from.

    Returns
    -------
    list of float
        The same on all processes.

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
        error.everywhere = True
        raise error
    return value


def leave_group():
    """Leave the group of processes, all at the same time.

    A process that leaves while others still use its connections, or while
    a model in a reference cycle still holds the group, may be aborted.
    """
    if torch.distributed.is_initialized():
        gc.collect()
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
