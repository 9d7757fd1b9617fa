"""Recordings of any length: separated in windows that overlap, each voice kept
on one output, in memory that does not grow. Axis letters are in model.py.
"""

import itertools

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from .scaling import voice_embeddings

LIKENESS = 0.3  # what embeddings weigh beside the waveforms
MEMORY = 0.8  # of what was heard of a voice, from window to window


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


class Stitcher:
    """Puts the voices of windows together, each on an output of its own.

    Which voice goes on is decided by the waveforms of the samples that two
    windows share, which both have separated, and, where these say little
    because someone is silent there, by the mean embedding of each voice so
    far. Quiet voices count little in either, so that one which is silent
    does not shuffle the others. Shared samples are cross-faded.

    Arguments
    ---------
    overlap : int
        Samples to cross-fade.
    """

    def __init__(self, overlap):
        self.overlap = overlap
        self.tail = None  # [C, overlap], not given out yet
        self.sums = None  # [C, D], of embeddings

    def add(self, voices, known, sums=None):
        """Take the voices of the next window.

        Arguments
        ---------
        voices : numpy.ndarray, [C, T]
        known : int
            As `cut_windows` gives it.
        sums : numpy.ndarray, [C, D], optional
            Of `scaling.voice_embeddings`.

        Returns
        -------
        numpy.ndarray, [C, samples that are done]
        """
        if self.tail is None:
            order = np.arange(len(voices))
        else:
            voices = voices[:, known - self.overlap :]
            order = self._match(voices[:, : self.overlap], sums)
        placed = np.empty_like(voices)
        placed[order] = voices
        self._remember(order, sums)
        if self.tail is not None:
            rise = (np.arange(self.overlap) + 1) / (self.overlap + 1)
            shared = placed[:, : self.overlap]  # a view
            shared += (1 - rise.astype(np.float32)) * (self.tail - shared)
        end = max(0, placed.shape[1] - self.overlap)
        self.tail = placed[:, end:]
        return placed[:, :end]

    def finish(self):
        """What is left to give out, [C, samples]."""
        return self.tail

    def _match(self, heads, sums):
        """The output of each voice, by the beginnings that are shared."""
        energies = np.square(heads).sum(), np.square(self.tail).sum()
        scores = heads @ self.tail.T / np.sqrt(np.prod(energies) + 1e-12)
        if sums is not None:
            scores = scores + LIKENESS * sums @ _directions(self.sums).T
        return linear_sum_assignment(scores, maximize=True)[1]

    def _remember(self, order, sums):
        """Add to what was heard of each voice, and slowly forget it."""
        if sums is None:
            return
        if self.sums is None:
            self.sums = np.zeros_like(sums)
        self.sums *= MEMORY
        self.sums[order] += sums


def _directions(sums):
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return sums / np.maximum(lengths, 1e-12)


def separate_windows(unmixer, blocks, count, size, overlap, head=None, batch=1):
    """Separate a recording of any length.

    Arguments
    ---------
    unmixer : unmixing.Unmixer
    blocks : iterable of numpy.ndarray, each [any number of samples]
        At the model's sampling rate.
    count : int
        Voices, C. In each window as many are looked for: to count anew in
        each was tried, and lost 0.4 dB where a count was wrong.
    size : int
        Samples in a window.
    overlap : int
        Samples that windows share, at least.
    head : str, optional
        See `unmixing.Unmixer`.
    batch : int
        Windows to separate at a time.

    Yields
    ------
    numpy.ndarray, [C, any number of samples]
        As many samples in all as were taken.
    """
    stitcher = Stitcher(overlap)
    windows = cut_windows(blocks, size, overlap)
    device = next(unmixer.separator.parameters()).device
    while group := list(itertools.islice(windows, batch)):
        mixtures = [torch.from_numpy(window).to(device) for window, _ in group]
        unmixed = unmixer(mixtures, count, head)
        for (_, known), each in zip(group, unmixed, strict=True):
            sums = None
            if each.embeddings is not None:
                sums = voice_embeddings(
                    unmixer.separator, each.voices, each.embeddings
                )
                sums = sums.cpu().numpy()
            voices = each.voices.cpu().numpy()
            yield stitcher.add(voices, known, sums)
    yield stitcher.finish()
