"""Batches: whole, the same for any number of processes, and full."""

import itertools
import os
import signal

import numpy as np
import pytest
import torch
from refusals import refused

from dpcl_dprnn.datasets import batches as module
from dpcl_dprnn.datasets.batches import (
    TrainingBatches,
    make_loader,
    make_training_loader,
)


def lengths_of(count, seed=0):
    """Seconds of utterances, from half a second to 16, most of them short."""
    rng = np.random.default_rng(seed)
    return np.exp(rng.uniform(np.log(0.5), np.log(16), count)).tolist()


@pytest.fixture
def on_each(monkeypatch):
    """The batches of each rank in an epoch, and one of the samplers."""

    def run(ranks, lengths, *arguments, epoch=1, start=0, **options):
        parts = []
        for rank in range(ranks):
            monkeypatch.setattr(module, "place", lambda r=rank: (r, ranks))
            sampler = TrainingBatches(lengths, *arguments, **options)
            sampler.set_epoch(epoch)
            sampler.start = start
            parts.append(list(sampler))
        return parts, sampler

    return run


def joined(parts):
    """The global batches of what the ranks have."""
    return [
        sorted(index for part in batch for index in part)
        for batch in zip(*parts, strict=True)
    ]


OPTIONS = [
    {"shuffle": True},
    {"shuffle": False},
    {"drop_last": True},
    {"seed": 5},
]


@pytest.mark.parametrize("count", [6, 12, 20, 23])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_steps_do_not_depend_on_the_number_of_processes(
    options, count, on_each
):
    """Batches of 6, of 3 on each of two, of 2 on each of three."""
    for epoch in (1, 2):
        one, two, three = (
            joined(on_each(n, [1.0] * count, 6 // n, epoch=epoch, **options)[0])
            for n in (1, 2, 3)
        )
        assert one == two
        if count != 20:  # whose last two are not enough for three
            assert one == three
        used = [index for batch in one for index in batch]
        assert len(used) == len(set(used))
        kept = count - count % 6 if options.get("drop_last") else count
        assert len(used) == kept


def test_processes_take_every_second_utterance(on_each):
    """As `RandomMixing` counts on, where it draws for all of them."""
    ((whole, *_),), _ = on_each(1, [1.0] * 12, 6)
    ((first, *_), (second, *_)), _ = on_each(2, [1.0] * 12, 3)
    assert (first, second) == (whole[::2], whole[1::2])


def test_like_lengths_do_not_depend_on_the_number_of_processes(on_each):
    """Unless a process would have nothing of the last batch."""
    lengths, compared = [min(x, 4.0) for x in lengths_of(200)], 0
    for epoch in range(1, 21):
        one, two, three = (
            joined(on_each(n, lengths, 99, 48.0 / n, epoch=epoch)[0])
            for n in (1, 2, 3)
        )
        if min(len(batch) for batch in one) >= 3:
            assert one == two == three
            compared += 1
    assert compared > 5


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("budget", [None, 3.0, 20.0])
def test_every_process_has_something_and_nothing_comes_twice(
    budget, drop_last, ranks, on_each
):
    for count in range(ranks, 30):
        lengths = lengths_of(count, seed=count)
        parts, sampler = on_each(
            *(ranks, lengths, 4, budget), drop_last=drop_last
        )
        assert all(batch for part in parts for batch in part)
        used = [index for batch in joined(parts) for index in batch]
        assert len(used) == len(set(used)) and set(used) <= set(range(count))
        if not drop_last:  # fewer than one for each may be left
            assert len(used) > count - ranks
        elif budget is None:
            assert len(used) == count - count % (4 * ranks)
        sizes = [len(batch) for batch in joined(parts)]
        assert len(sampler) == len(sizes) == len(parts[0])
        for first in range(1, len(sizes) + 1):
            for last in range(first, len(sizes) + 3):
                wanted = sum(sizes[first - 1 : last])
                assert sampler.utterances(first, last) == wanted
        for batch in zip(*parts, strict=True):
            shares = [len(part) for part in batch]
            assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize("budget", [None, 20.0])
def test_epochs_and_seeds_differ_and_repeat(budget, on_each):
    lengths = lengths_of(40)

    def order(**options):
        return joined(on_each(1, lengths, 4, budget, **options)[0])

    first = order(epoch=1)
    assert first == order(epoch=1)
    assert first != order(epoch=2)
    assert first != order(epoch=1, seed=1)
    still = order(epoch=1, shuffle=False)
    assert still == order(epoch=2, shuffle=False, seed=1)
    if budget is None:
        assert still == [list(range(i, i + 4)) for i in range(0, 40, 4)]


def test_like_lengths_get_new_companions_and_another_order(on_each):
    lengths = lengths_of(2000)
    epochs = [joined(on_each(1, lengths, 4, 20.0, epoch=n)[0]) for n in (1, 2)]
    pairs = [
        {pair for batch in batches for pair in itertools.combinations(batch, 2)}
        for batches in epochs
    ]
    assert len(pairs[0] & pairs[1]) < len(pairs[0]) / 2
    means = [np.mean([lengths[i] for i in batch]) for batch in epochs[0]]
    assert np.corrcoef(means, range(len(means)))[0, 1] < 0.5


@pytest.mark.parametrize("budget", [None, 20.0])
@pytest.mark.parametrize("ranks", [1, 2])
def test_start_skips_batches_of_one_epoch_only(ranks, budget, on_each):
    lengths = lengths_of(30)
    whole, _ = on_each(ranks, lengths, 2, budget)
    rest, sampler = on_each(ranks, lengths, 2, budget, start=3)
    assert rest == [part[3:] for part in whole]
    assert len(sampler) == len(whole[0])
    assert list(sampler) == whole[-1]


def padded(batch, lengths):
    return len(batch) * max(lengths[index] for index in batch)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("budget", [4.0, 20.0, 50.0])
def test_batches_of_like_length_keep_to_their_seconds(budget, ranks, on_each):
    """But for one utterance on each process, which may be longer, and a rest
    of too few for all processes, that goes with others.
    """
    lengths = lengths_of(300)
    batches = joined(on_each(ranks, lengths, 1, budget)[0])
    assert sorted(index for batch in batches for index in batch) == [
        *range(300)
    ]
    beyond = [
        b
        for b in batches
        if padded(b, lengths) > budget * ranks and len(b) != ranks
    ]
    assert len(beyond) <= 1
    alone = [b for b in batches if len(b) > ranks]
    assert len(alone) > 10 or budget == 4.0


def test_batches_of_like_length_are_less_padded(on_each):
    lengths = lengths_of(300)

    def padding(batches):
        real = sum(lengths[index] for batch in batches for index in batch)
        return 1 - real / sum(padded(batch, lengths) for batch in batches)

    alike = joined(on_each(1, lengths, 1, 40.0)[0])
    size = round(300 / len(alike))
    random = joined(on_each(1, lengths, size)[0])
    assert padding(alike) < 0.1 < 0.4 < padding(random)


def test_batches_of_like_length_are_full(on_each):
    """A further utterance of the next batch would not fit."""
    lengths = lengths_of(300)
    batches = joined(on_each(1, lengths, 1, 40.0, shuffle=False)[0])
    for batch, following in zip(batches, batches[1:], strict=False):
        longest = max(
            *(lengths[index] for index in batch),
            max(lengths[index] for index in following),
        )
        assert (len(batch) + 1) * longest > 40.0


# Loaders


def items(count):
    return [
        {"id": f"u{n}", "mixture": torch.full((n + 1,), float(n))}
        for n in range(count)
    ]


def test_loader_pads_what_the_batches_say():
    loader = make_training_loader(
        items(5), [1.0] * 5, {"batch_size": 2, "shuffle": False}
    )
    assert [batch.id for batch in loader] == [
        ["u0", "u1"],
        ["u2", "u3"],
        ["u4"],
    ]
    batch = next(iter(loader))
    assert batch.mixture.data.tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert len(loader) == 3
    assert isinstance(loader.batch_sampler, TrainingBatches)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"batch_size": 4, "drop_last": True}, ["3 training", "batch of 4"]),
        ({"batch_size": 2, "worker": 1}, ["'worker': 1", "do not fit"]),
        ({"batch_size": 2, "num_workers": -1}, ["num_workers"]),
    ],
)
def test_options_that_do_not_fit(options, words):
    given = dict(options)
    with refused() as caught:
        make_training_loader(items(3), [1.0] * 3, options)
    assert [word for word in words if word not in str(caught.value)] == []
    assert options == given


def test_fewer_utterances_than_processes(monkeypatch):
    monkeypatch.setattr(module, "place", lambda: (0, 4))
    with refused("one for each of 4 processes"):
        make_training_loader(items(3), [1.0] * 3, {}, max_seconds=9.0)


class Told(torch.utils.data.Dataset):
    """Items of the SIGTERM handler that the worker has."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        ignored = signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        return {"id": str(os.getpid()), "ignored": torch.tensor([ignored])}


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_ignore_sigterm(workers):
    loader = make_loader(Told(), {"batch_size": 1, "num_workers": workers})
    batches = list(loader)
    assert all(batch.ignored.data.item() == (workers > 0) for batch in batches)
    processes = {batch.id[0] for batch in batches}
    assert len(processes) == max(workers, 1)
    assert (str(os.getpid()) in processes) == (workers == 0)


@pytest.mark.parametrize(
    "device, options, pinned",
    [
        ("cpu", {}, False),
        ("cuda:0", {}, True),
        ("cuda", {"pin_memory": False}, False),
    ],
)
def test_batches_for_a_gpu_are_in_pinned_memory(device, options, pinned):
    loader = make_loader(Told(), {"batch_size": 1, **options}, device)
    assert loader.pin_memory is pinned
