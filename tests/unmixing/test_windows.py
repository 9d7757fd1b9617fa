"""Windows that overlap: cut, separated and put together again."""

import numpy as np
import pytest
import torch

from dpcl_dprnn.unmixing.expectation import Expectation
from dpcl_dprnn.unmixing.windows import (
    Stitcher,
    cut_windows,
    fit_overlap,
    separate_windows,
)

SIZE, OVERLAP = 40, 10


def blocks_of(signal, *sizes):
    """The signal in blocks of these sizes, over and over."""
    position, number = 0, 0
    while position < len(signal):
        size = sizes[number % len(sizes)]
        yield signal[position : position + size]
        position, number = position + size, number + 1


@pytest.mark.parametrize("sizes", [(1,), (7, 3), (40,), (1000,)], ids=str)
@pytest.mark.parametrize("length", [1, 9, 39, 40, 41, 69, 70, 71, 100, 250])
def test_windows_cover_the_signal(length, sizes):
    signal = np.arange(length, dtype=np.float32)
    cut = list(cut_windows(blocks_of(signal, *sizes), SIZE, OVERLAP))
    covered = np.concatenate([window[known:] for window, known in cut])
    assert np.array_equal(covered, signal)
    for index, (window, known) in enumerate(cut):
        assert len(window) == min(SIZE, length)
        assert np.array_equal(np.diff(window), np.ones(len(window) - 1))
        if index == 0:
            assert known == 0
        elif index < len(cut) - 1:
            assert known == OVERLAP
        else:
            assert OVERLAP <= known < SIZE


def test_the_number_of_windows_is_the_least():
    signal = np.zeros(SIZE + 3 * (SIZE - OVERLAP), np.float32)
    assert len(list(cut_windows([signal], SIZE, OVERLAP))) == 4
    more = np.append(signal, np.float32(0))
    assert len(list(cut_windows([more], SIZE, OVERLAP))) == 5


@pytest.mark.parametrize("length", [41, 42, 70, 71, 99, 100, 101, 1000])
def test_windows_are_spread_evenly(length):
    overlap = fit_overlap(length, SIZE, OVERLAP)
    least = len(list(cut_windows([np.zeros(length)], SIZE, OVERLAP)))
    cut = list(cut_windows([np.zeros(length)], SIZE, overlap))
    assert overlap >= OVERLAP and len(cut) == least
    *inner, last = [known for _, known in cut[1:]]
    assert set(inner) <= {overlap}
    assert overlap <= last < overlap + len(cut)


def test_no_window_of_nothing():
    assert list(cut_windows([], SIZE, OVERLAP)) == []


def voices_of(length=300, count=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, length)).astype(np.float32)


def stitched(count, length, hear):
    """What is made of the pieces and sums that `hear` gives of each window."""
    stitcher = Stitcher(count, OVERLAP)
    done = []
    for window, known in cut_windows(
        [np.arange(length, dtype=np.float32)], SIZE, OVERLAP
    ):
        pieces, sums = hear(window.astype(int))
        done.append(stitcher.add(pieces, known, sums))
    return np.concatenate([*done, stitcher.finish()], axis=1)


def stitch(voices, shuffle, embeddings=None):
    """Cut voices into windows, in which they stand in another order."""
    rng = np.random.default_rng(1)

    def hear(window):
        order = rng.permutation(len(voices)) if shuffle else range(len(voices))
        sums = None if embeddings is None else embeddings(window)[order]
        return voices[:, window][order], sums

    return stitched(*voices.shape, hear)


@pytest.mark.parametrize("length", [1, 10, 40, 41, 75, 300])
def test_stitching_is_the_inverse_of_cutting(length):
    voices = voices_of(length)
    assert stitch(voices, shuffle=False) == pytest.approx(voices, abs=1e-6)


def assert_same_but_for_the_order(got, voices):
    order = (got[:, :SIZE] @ voices[:, :SIZE].T).argmax(axis=1)
    assert sorted(order) == list(range(len(voices)))
    assert got == pytest.approx(voices[order], abs=1e-5)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_voices_that_change_places_are_put_back(count):
    voices = voices_of(count=count)
    got = stitch(voices, shuffle=True)
    assert_same_but_for_the_order(got, voices)


def test_a_silent_voice_does_not_shuffle_the_others():
    voices = voices_of()
    voices[1, 60:200] = 0
    voices[1, 60:200] += 1e-4 * voices_of(140, 1, seed=2)[0]  # what is left
    got = stitch(voices, shuffle=True)
    assert_same_but_for_the_order(got, voices)


def test_embeddings_tell_voices_that_pause_where_windows_meet():
    voices = voices_of(count=2)
    shares = np.square(voices)
    for begin in range(SIZE - OVERLAP, 300, SIZE - OVERLAP):
        voices[:, begin : begin + OVERLAP] = 0

    def embeddings(window):
        return np.eye(2) * shares[:, window].mean(axis=1)

    got = stitch(voices[:, :280], True, embeddings)
    assert_same_but_for_the_order(got, voices[:, :280])
    # The oracle can fail: without embeddings the order is anyone's guess.
    got = stitch(voices[:, :280], True)
    with pytest.raises(AssertionError):
        assert_same_but_for_the_order(got, voices[:, :280])


def test_shared_samples_are_cross_faded():
    stitcher = Stitcher(1, OVERLAP)
    first = stitcher.add(np.zeros((1, SIZE), np.float32), 0)
    second = stitcher.add(np.ones((1, SIZE), np.float32), OVERLAP)
    whole = np.concatenate([first, second, stitcher.finish()], axis=1)[0]
    rise = whole[SIZE - OVERLAP : SIZE]
    assert rise == pytest.approx((np.arange(OVERLAP) + 1) / (OVERLAP + 1))
    assert not whole[: SIZE - OVERLAP].any() and (whole[SIZE:] == 1).all()


@pytest.mark.parametrize("with_embeddings", [True, False])
def test_pieces_of_a_voice_are_put_together(with_embeddings):
    """Three outputs for two voices, of which another is in pieces each time."""
    voices = voices_of(count=2)
    rng = np.random.default_rng(3)

    def hear(window):
        part = voices[:, window]
        split, whole = (0, 1) if rng.integers(2) else (1, 0)
        share = rng.uniform(0.3, 0.7)
        pieces = np.stack(
            [share * part[split], part[whole], (1 - share) * part[split]]
        )
        power = np.square(pieces).sum(axis=1)
        owners = np.eye(2)[[split, whole, split]]
        sums = owners * (power / power.sum())[:, None]
        if window[0] and not with_embeddings:
            sums = None
        return pieces.astype(np.float32), sums

    assert_same_but_for_the_order(stitched(2, 300, hear), voices)


def test_all_pieces_may_be_of_one_voice():
    """As in a window in which only one speaks."""
    voices = voices_of(2 * SIZE, count=2)
    voices[1, SIZE - OVERLAP :] = 0
    stitcher = Stitcher(2, OVERLAP)
    done = [stitcher.add(voices[:, :SIZE], 0)]
    rest = voices[0, SIZE - OVERLAP :]
    pieces = np.stack([0.6 * rest, 0.4 * rest])
    done += [stitcher.add(pieces, OVERLAP), stitcher.finish()]
    assert np.concatenate(done, axis=1) == pytest.approx(voices, abs=1e-5)


@pytest.mark.parametrize("with_embeddings", [True, False])
def test_one_who_comes_late_gets_an_output_of_their_own(with_embeddings):
    """Whose embeddings are not quite unlike those of the one heard so far."""
    voices = voices_of(300, count=2)
    voices[1, :130] = 0
    directions = np.array([[1.0, 0.0], [0.6, 0.8]])

    def hear(window):
        pieces = voices[:, window]
        power = np.square(pieces).sum(axis=1)
        sums = directions * (power / power.sum())[:, None]
        return pieces, sums if with_embeddings else None

    assert stitched(2, 300, hear) == pytest.approx(voices, abs=1e-5)


def test_many_voices_take_no_endless_time():
    """Not all 8^8 ways are tried."""
    voices = voices_of(100, count=8)
    got = stitch(voices, shuffle=True)
    assert_same_but_for_the_order(got, voices)


class Halves:
    """An unmixer that gives everyone an equal part."""

    def __init__(self):
        self.separator = torch.nn.Linear(1, 1)
        self.separator.separate_each = lambda mixtures: mixtures

    def pieces(self, mixture, separated, n_spks, head):
        assert separated is mixture and (n_spks, head) == (2, "masks")
        return torch.stack([mixture, mixture]) / 2

    def embed(self, pieces, separated):
        return None


def test_windows_are_separated_and_put_together():
    signal = voices_of(200, 1)[0]
    done = separate_windows(
        *(Halves(), blocks_of(signal, 17), 2, SIZE, OVERLAP, "masks"),
        Expectation(),
    )
    got = np.concatenate(list(done), axis=1)
    assert got == pytest.approx(np.stack([signal, signal]) / 2, abs=1e-6)


class Thirds(Halves):
    """An unmixer that gives one voice in two pieces; windows differ in how
    alike it and the other are.
    """

    def __init__(self, cosines):
        super().__init__()
        self.cosines = iter(cosines)

    def pieces(self, mixture, separated, n_spks, head):
        return torch.stack([0.5 * mixture, 0.2 * mixture, 0.3 * mixture])

    def embed(self, pieces, separated):
        cosine = next(self.cosines)
        one = torch.tensor([1.0, 0.0])
        other = torch.tensor([cosine, (1 - cosine**2) ** 0.5])
        return torch.stack([0.4 * one, 0.2 * one, 0.4 * other])


def test_what_to_expect_is_of_voices_and_not_of_pieces():
    signal, cosines = voices_of(100, 1)[0], [0.1, 0.5, 0.3, 0.2, 0.4]
    expectation = Expectation()
    done = separate_windows(
        *(Thirds(cosines), blocks_of(signal, 200), 2, SIZE, OVERLAP, "masks"),
        expectation,
    )
    windows = len(list(done)) - 1  # the last block is what was left
    assert 1 < windows <= len(cosines)
    assert expectation.likeness == pytest.approx(np.mean(cosines[:windows]))


def test_memory_does_not_grow():
    """What comes out of an endless stream comes soon, and is let go."""

    def endless():
        while True:
            yield np.zeros(10, np.float32)

    taken = 0
    stream = separate_windows(
        Halves(), endless(), 2, SIZE, OVERLAP, "masks", Expectation()
    )
    for block in stream:
        assert block.shape[1] <= SIZE
        taken += block.shape[1]
        if taken > 100 * SIZE:
            return
