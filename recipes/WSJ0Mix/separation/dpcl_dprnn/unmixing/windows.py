"""Recordings of any length: separated in windows that overlap, each voice kept
on one output, in memory that does not grow. Axis letters are in model.py.
"""

import itertools

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from .grouping import group_alike

LIKENESS = 5.0  # what embeddings weigh beside the waveforms
SPREAD = 0.01  # what a voice more weighs: where all else says nothing
MOST_TRIES = 1000  # ways to place the pieces of a window
TINY = 1e-12


def cut_windows(blocks, size, overlap):
    """Cut a stream of samples into windows that overlap.

    Arguments
    ---------
    blocks : iterable of numpy.ndarray, each [any number of samples]
    size : int
        Samples in a window.
    overlap : int
        Samples that a window shares with the next one, at least.

    Yields
    ------
    window : numpy.ndarray, [size]
        Shorter only if that is all there is; the last one reaches back to
        be as long as the others.
    known : int
        How many of its samples the windows before it had.

    Example
    -------
    >>> [(window.tolist(), known) for window, known in cut_windows(
    ...     [np.arange(3), np.arange(3, 6)], size=4, overlap=1)]
    [([0, 1, 2, 3], 0), ([2, 3, 4, 5], 2)]
    """
    buffer = np.zeros(0, np.float32)  # from the last window's beginning on
    begin = covered = 0  # of the next window, by the last one, in the buffer
    for block in blocks:
        buffer = np.concatenate([buffer, block]) if len(buffer) else block
        # A full window is let go when more comes after it: the last one
        # reaches back from the end.
        while len(buffer) > begin + size:
            yield buffer[begin : begin + size], covered - begin
            buffer = buffer[begin:]
            begin, covered = size - overlap, size
    start = max(0, len(buffer) - size)
    if len(buffer) > covered:
        yield buffer[start:], covered - start


def fit_overlap(length, size, overlap):
    """The overlap at which as many windows cover a signal evenly.

    Arguments
    ---------
    length : int
        Samples of the signal, more than `size`.
    size : int
        Samples in a window.
    overlap : int
        Samples that a window shares with the next one, at least.

    Returns
    -------
    int

    Example
    -------
    >>> fit_overlap(length=60, size=30, overlap=2)
    15
    """
    windows = -(-(length - overlap) // (size - overlap))
    hop = -(-(length - size) // (windows - 1))
    return size - hop


class Stitcher:
    """Puts the pieces of windows together, each with the voice it belongs to.

    Whose a piece is, is decided by two things together. Windows share
    samples, which both have separated: the pieces of a voice have to add up
    to what it said there before. And its embeddings have to be like those of
    the voice so far, which tells where someone is silent in the samples that
    are shared. Either counts by power, so that a voice which is silent does
    not shuffle the others. As a voice may be in several pieces, or in none,
    this is more than an assignment of one to one: all are tried.

    Arguments
    ---------
    count : int
        Voices, C.
    overlap : int
        Samples to cross-fade.
    """

    def __init__(self, count, overlap):
        self.count = count
        self.overlap = overlap
        self.tail = None  # [C, overlap], not given out yet
        self.sums = 0.0  # [C, D], of the embeddings of each voice
        self.said = None  # the same of the last window

    def add(self, pieces, known, sums=None):
        """Take the pieces of the next window.

        Arguments
        ---------
        pieces : numpy.ndarray, [P, T]
        known : int
            As `cut_windows` gives it.
        sums : numpy.ndarray, [P, D], optional
            Of `grouping.voice_embeddings`.

        Returns
        -------
        numpy.ndarray, [C, samples that are done]
        """
        if self.tail is None:
            places = self._first_places(pieces, sums)
        else:
            pieces = pieces[:, known - self.overlap :]
            places = self._match(pieces[:, : self.overlap], sums)
        voices = places.T @ pieces
        if sums is not None:
            self.said = places.T @ sums
            self.sums = self.sums + self.said
        if self.tail is not None:
            rise = (np.arange(self.overlap) + 1) / (self.overlap + 1)
            shared = voices[:, : self.overlap]  # a view
            shared += (1 - rise.astype(np.float32)) * (self.tail - shared)
        end = max(0, voices.shape[1] - self.overlap)
        self.tail = voices[:, end:]
        return voices[:, :end]

    def finish(self):
        """What is left to give out, [C, samples]."""
        return self.tail

    def _first_places(self, pieces, sums):
        """The voices of the first pieces, as 0 or 1, [P, C]."""
        voices = np.arange(len(pieces))
        if len(pieces) > self.count:
            voices = group_alike(torch.from_numpy(sums), self.count).numpy()
        return np.eye(self.count, dtype=np.float32)[voices]

    def _match(self, heads, sums):
        """The voice of each piece, by the beginnings that are shared."""
        scale = np.sqrt(np.square(heads.sum(axis=0)).sum())
        scale *= np.sqrt(np.square(self.tail.sum(axis=0)).sum())
        # |tail - pieces|^2 of each voice, from products that are few
        among = heads @ heads.T / (scale + TINY)  # [P, P]
        with_tail = heads @ self.tail.T / (scale + TINY)  # [P, C]

        def _score(places):
            fit = 2 * (places * with_tail).sum()
            fit -= ((places @ places.T) * among).sum()
            if sums is not None:
                # The more alike, the longer the sum; and one who was never
                # heard is as welcome as can be.
                heard = self.sums + places.T @ sums
                fit += LIKENESS * np.linalg.norm(heard, axis=1).sum()
            return fit + SPREAD * places.any(axis=0).sum()

        return _best_places(_score, len(heads), self.count)


def _best_places(score, pieces, count):
    """The places [P, C], 0 or 1, of the best score.

    All are tried where these are not too many; or else each piece is given
    one voice by the Hungarian algorithm, and then moved while that helps.
    """
    identity = np.eye(count, dtype=np.float32)
    if count**pieces <= MOST_TRIES:
        ways = itertools.product(range(count), repeat=pieces)
        return max((identity[list(voices)] for voices in ways), key=score)
    places = np.zeros((pieces, count), np.float32)
    alone = np.zeros_like(places)
    for piece, voice in np.ndindex(alone.shape):
        places[piece, voice] = 1
        alone[piece, voice] = score(places)
        places[piece, voice] = 0
    placed, voices = linear_sum_assignment(alone, maximize=True)
    places[placed, voices] = 1
    for piece in range(pieces):
        tries = []
        for row in identity:
            places[piece] = row
            tries.append(score(places))
        places[piece] = identity[int(np.argmax(tries))]
    return places


def separate_windows(unmixer, blocks, count, size, overlap, head, expectation):
    """Separate a recording of any length.

    Arguments
    ---------
    unmixer : unmixer.Unmixer
    blocks : iterable of numpy.ndarray, each [any number of samples]
        At the model's sampling rate.
    count : int
        Voices, C.
    size : int
        Samples in a window.
    overlap : int
        Samples that windows share, at least.
    head : str
        "masks" or "kmeans".
    expectation : expectation.Expectation
        Hears the voices of each window.

    Yields
    ------
    numpy.ndarray, [C, any number of samples]
        As many samples in all as were taken.
    """
    stitcher = Stitcher(count, overlap)
    device = next(unmixer.separator.parameters()).device
    for window, known in cut_windows(blocks, size, overlap):
        mixture = torch.from_numpy(window).to(device)
        (separated,) = unmixer.separator.separate_each([mixture])
        pieces = unmixer.pieces(mixture, separated, count, head)
        sums = unmixer.embed(pieces, separated)
        voices = stitcher.add(
            pieces.cpu().numpy(),
            known,
            None if sums is None else sums.cpu().numpy(),
        )
        if sums is not None:
            expectation.hear(stitcher.said)
        yield voices
    yield stitcher.finish()
