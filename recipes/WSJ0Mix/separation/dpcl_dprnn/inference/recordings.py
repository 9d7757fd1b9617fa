"""Recordings as streams of mono samples: from a file or from memory, at any
rate, forwards, in memory that does not grow.
"""

import itertools
import os

import numpy as np

from ..common.audio import opened
from ..common.errors import UserError

BLOCK = 1.0  # seconds to read at a time
LARGEST = 1e6  # of a sample; floating-point files may hold anything
HIGHEST = 384_000  # Hz, of recordings and voices
UNKNOWN = 2**62  # libsndfile's number of frames is higher if it is unknown


class SignalRecording:
    """Samples in memory.

    Arguments
    ---------
    samples : numpy.ndarray, [T] or [T, channels]
        Floating point, full scale at 1.0.
    rate : int
        Samples per second.
    channel : int or "mean"
        Which channel to take, from 0 on, or the mean of all.
    name : str
        For errors.
    """

    def __init__(self, samples, rate, channel="mean", name="the signal"):
        samples = np.asarray(samples)
        if samples.ndim not in (1, 2) or not samples.size:
            raise UserError(
                f"{name} has the shape {samples.shape}; [samples] or [samples, "
                "channels] are needed, at least one."
            )
        if not np.issubdtype(samples.dtype, np.floating):
            raise UserError(
                f"{name} holds {samples.dtype}; floating-point samples with "
                "full scale at 1.0 are needed."
            )
        if isinstance(rate, bool) or int(rate) != rate or rate < 1:
            raise UserError(
                f"The sampling rate is {rate!r}; a whole number of Hz is "
                "needed."
            )
        self.rate, self.channel, self.name = int(rate), channel, name
        self.samples = samples
        self.frames = len(samples)
        check_channel(channel, 1 if samples.ndim == 1 else samples.shape[1])

    def blocks(self, start=0, frames=None):
        """The samples from `start` on, in blocks.

        Arguments
        ---------
        start : int
            First sample.
        frames : int, optional
            Number of samples; up to the end by default.

        Yields
        ------
        numpy.ndarray, [any number of samples], float32
        """
        end = self.frames if frames is None else start + frames
        step = max(1, int(BLOCK * self.rate))
        for begin in range(start, end, step):
            block = self.samples[begin : min(end, begin + step)]
            yield to_mono(block, self.channel, self.name)


class FileRecording:
    """A sound file of any kind that libsndfile reads, any rate and channels.

    Arguments
    ---------
    path : str or Path
    channel : int or "mean"
        Which channel to take, from 0 on, or the mean of all.
    """

    def __init__(self, path, channel="mean"):
        self.path = self.name = path
        self.channel = channel
        self.frames = 0
        if not os.path.isfile(path) or os.path.getsize(path):
            with opened(path) as file:
                self.rate, self.frames = file.samplerate, file.frames
                self.channels = file.channels
        if self.frames < 1:
            raise UserError(f"{path} is empty: it has no samples.")
        if self.frames >= UNKNOWN:  # FLAC that was written to a pipe
            raise UserError(
                f"{path} does not say how long it is: convert it to WAV, as "
                "by ffmpeg -i IN OUT.wav"
            )
        check_channel(channel, self.channels, path)

    def blocks(self, start=0, frames=None):
        """As of `SignalRecording`."""
        left = self.frames - start if frames is None else frames
        step = max(1, int(BLOCK * self.rate))
        with opened(self.path) as file:
            file.seek(start)
            while left > 0:
                block = file.read(min(step, left), dtype="float32")
                if not len(block):
                    raise UserError(
                        f"{self.path} ends {left} samples too early. Copy or "
                        "make the file again."
                    )
                left -= len(block)
                yield to_mono(block, self.channel, self.path)


def check_channel(channel, channels, name="the signal"):
    """Refuse a channel that is not there."""
    whole = isinstance(channel, int) and not isinstance(channel, bool)
    if channel == "mean" or (whole and 0 <= channel < channels):
        return
    raise UserError(
        f"{name} has {channels} channel{'s' * (channels > 1)}, counted from "
        f"0; there is no channel {channel!r}. Give one of them, or mean."
    )


def to_mono(block, channel, name):
    """One channel of a block [T] or [T, channels], or their mean, float32."""
    if block.ndim == 2 and channel != "mean":
        block = block[:, channel]
    # Before the mean, as infinities of either sign have none. Also NaN, which is neither smaller nor larger.
    if not (np.abs(block) <= LARGEST).all():
        raise UserError(
            f"{name} has samples that are NaN, infinite or beyond {LARGEST:g} "
            "times full scale. Make it again."
        )
    if block.ndim == 2:
        block = block.mean(axis=1)
    return block.astype(np.float32, copy=False)


def count_frames(frames, rate, wanted):
    """The samples that `frames` samples at one rate are at another.

    Example
    -------
    >>> count_frames(16001, 16000, 8000)
    8001
    """
    return -(-frames * wanted // rate)


def resampled(blocks, rate, wanted, frames=None):
    """Change the sampling rate of a stream, by soxr.

    Arguments
    ---------
    blocks : iterable of numpy.ndarray, each [T] or [C, T]
        float32.
    rate, wanted : int
        Samples per second, now and then.
    frames : int, optional
        Samples to give: the end is cut, or zeros follow.

    Yields
    ------
    numpy.ndarray, [T'] or [C, T'], float32
    """
    blocks = iter(blocks)
    first = next(blocks)
    blocks = itertools.chain([first], blocks)
    if rate != wanted and _rows(first):
        blocks = _stream(blocks, rate, wanted)
    left = frames
    for block in blocks:
        if left is not None:
            block = block[..., :left]
            left -= block.shape[-1]
        yield block
    if left:
        yield np.zeros((*block.shape[:-1], left), np.float32)


def _stream(blocks, rate, wanted):
    import soxr

    stream = None
    for block in blocks:
        if stream is None:
            shape = block.shape[:-1]
            stream = soxr.ResampleStream(
                rate, wanted, _rows(block), dtype="float32"
            )
        yield _as_rows(stream.resample_chunk(_as_frames(block)), shape)
    if stream is not None:
        rest = stream.resample_chunk(_as_frames(block[..., :0]), last=True)
        yield _as_rows(rest, shape)


def _as_frames(block):
    """From [T] or [C, T] to what soxr takes, [T] or [T, C]."""
    return block.reshape(-1) if _rows(block) == 1 else block.T.copy()


def _rows(block):
    return 1 if block.ndim == 1 else len(block)


def _as_rows(frames, shape):
    return frames.T.reshape(*shape, -1)
