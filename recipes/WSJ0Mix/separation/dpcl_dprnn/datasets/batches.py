"""Which utterances make up the batches of training, and their loader."""

import multiprocessing.util
import signal

import numpy as np
import torch
from speechbrain.dataio.batch import PaddedBatch
from torch.utils.data import DataLoader, Sampler

from ..common.distributed import place
from ..common.errors import UserError, first_line

WIDTH = 1.1  # lengths within this ratio count as alike


class TrainingBatches(Sampler):
    """The batches of an epoch, shared among the processes of a run.

    A step sees one global batch, of which each process takes every n-th
    utterance. The global batches are a function of the seed, the epoch and
    the size of a global batch alone: n processes with batches of b see in each
    step what one with batches of n * b sees.

    Arguments
    ---------
    lengths : list of float
        Of each utterance, in seconds.
    batch_size : int
        Utterances of a batch of one process.
    max_seconds : float, optional
        Instead of `batch_size`: utterances of like length are put together,
        as many as, padded to the longest, are no longer than this in all. Of
        several processes that is their average.
    seed : int
    shuffle : bool
        Whether every epoch has another order.
    drop_last : bool
        Whether to leave out a last batch that is not full; without meaning
        where `max_seconds` is given.

    Example
    -------
    >>> batches = TrainingBatches([1.0] * 5, batch_size=2, shuffle=False)
    >>> list(batches), len(batches)
    ([[0, 1], [2, 3], [4]], 3)
    """

    def __init__(
        self,
        lengths,
        batch_size,
        max_seconds=None,
        seed=0,
        shuffle=True,
        drop_last=False,
    ):
        self.lengths = np.asarray(lengths, dtype=float)
        self.batch_size = batch_size
        self.max_seconds = max_seconds
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.rank, self.ranks = place()
        self.start = 0  # batches of the epoch that have been taken before
        self.set_epoch(1)

    def set_epoch(self, epoch):
        """Draw the batches of an epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        order = np.arange(len(self.lengths))
        if self.shuffle:
            rng.shuffle(order)
        if self.max_seconds is None:
            size = self.batch_size * self.ranks
            smallest = size if self.drop_last else self.ranks
            batches = [order[i : i + size] for i in range(0, len(order), size)]
            self.batches = [each for each in batches if len(each) >= smallest]
        else:
            self.batches = self._of_like_length(order)
            if self.shuffle:
                rng.shuffle(self.batches)

    def _of_like_length(self, order):
        budget = self.max_seconds * self.ranks
        # By classes of length; within a class the order stays as it is drawn.
        classes = np.ceil(np.log(self.lengths[order]) / np.log(WIDTH))
        batches, batch, longest = [], [], 0.0
        for index in order[np.argsort(classes, kind="stable")]:
            longest = max(longest, self.lengths[index])
            full = (len(batch) + 1) * longest > budget
            if full and len(batch) >= self.ranks:
                batches.append(np.array(batch))
                batch, longest = [], self.lengths[index]
            batch.append(index)
        if len(batch) < self.ranks and batches:  # too few to share out
            batch = [*batches.pop(), *batch]
        if len(batch) >= self.ranks:
            batches.append(np.array(batch))
        return batches

    def utterances(self, first, last):
        """How many utterances all processes have in the epoch's batches of the
        numbers `first` (from 1) to `last`.
        """
        return sum(len(batch) for batch in self.batches[first - 1 : last])

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        start, self.start = self.start, 0
        for batch in self.batches[start:]:
            yield batch[self.rank :: self.ranks].tolist()


def make_training_loader(
    dataset, lengths, options, max_seconds=None, seed=0, device="cpu"
):
    """A loader of batches for training, whose `batch_sampler` is a
    `TrainingBatches`.

    Arguments
    ---------
    dataset : Dataset
        Of items that `PaddedBatch` joins.
    lengths : list of float
        Of its items, in seconds.
    options : dict
        Of `torch.utils.data.DataLoader`.
    max_seconds, seed
        See `TrainingBatches`.
    device : str
        Where the batches go.

    Raises
    ------
    UserError
        When there are too few utterances, or an option is not one of a
        loader.
    """
    options = dict(options)
    batches = TrainingBatches(
        lengths,
        options.pop("batch_size", 1),
        max_seconds,
        seed,
        shuffle=options.pop("shuffle", False),
        drop_last=options.pop("drop_last", False),
    )
    if not len(batches):
        size = f"a batch of {batches.batch_size} on each"
        if max_seconds is not None:
            size = "one for each"
        raise UserError(
            f"There are {len(lengths)} training mixtures, fewer than {size} of "
            f"{batches.ranks} processes. Add data, set a larger "
            "dynamic_mixing.train if they are mixed on the fly, or lower "
            "--batch_size."
        )
    return make_loader(dataset, {**options, "batch_sampler": batches}, device)


def make_loader(dataset, options, device="cpu"):
    """A loader of batches whose workers let SIGTERM to the process they serve,
    with `options` of `torch.utils.data.DataLoader`; `UserError` when one is
    none. For a GPU they are in memory that it copies from by itself.
    """
    multiprocessing.util.Finalize(None, end_workers, exitpriority=0)
    try:
        return DataLoader(
            dataset,
            collate_fn=PaddedBatch,
            worker_init_fn=ignore_sigterm,
            **{"pin_memory": torch.device(device).type == "cuda", **options},
        )
    except (TypeError, ValueError) as error:
        options = {k: v for k, v in options.items() if k != "batch_sampler"}
        raise UserError(
            f"The dataloader_opts {options} do not fit: {first_line(error)}."
        ) from error


def ignore_sigterm(worker):
    """A cluster sends it to all processes of a job. The one that trains needs
    its workers until it has saved, and ends them itself.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def end_workers():
    """At its exit, Python asks workers by SIGTERM to end, and waits: for ever,
    as they ignore it.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's would complain
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
