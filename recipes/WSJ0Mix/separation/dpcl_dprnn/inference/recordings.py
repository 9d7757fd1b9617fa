"""Recordings as streams of mono samples: from a file or from memory, at any
rate, forwards, in memory that does not grow.
"""

import itertools
import os

import numpy as np

from ..common.errors import UserError
from ..sound.opening import opened
from ..sound.rumble import without_rumble

BLOCK = 1.0  # seconds to read at a time
LARGEST = 1e6  # of a sample; floating-point files may hold anything
HIGHEST = 384_000  # Hz, of recordings and voices
ALIKE = 0.3  # correlation of channels, below which they differ
HEARD = 1e-3  # of the loudest channel's power, below which one is silent
CANCELLED = 0.1  # of the mean's power, if channels had nothing in common


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

    Attributes
    ----------
    warnings : list of str
        What the user ought to know about it.
    """

    def __init__(self, samples, rate, channel="mean", name="the signal"):
        samples = np.asarray(samples)
        if samples.ndim not in (1, 2) or not samples.size:
            raise UserError(
                f"{name} has the shape {samples.shape}; [samples] or [samples, "
                "channels] are needed, at least one."
            )
        if samples.ndim == 2 and samples.shape[1] > samples.shape[0]:
            raise UserError(
                f"{name} has the shape {samples.shape}, more channels than "
                "samples; [samples, channels] is needed. Transpose it."
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
        self.channels = 1 if samples.ndim == 1 else samples.shape[1]
        check_channel(channel, self.channels)
        self.warnings = []
        if channel == "mean" and self.channels > 1:
            self.channel, self.warnings = judge_channels([samples], self.rate)

    def blocks(self):
        """The samples in blocks, [any number of samples], float32."""
        step = max(1, int(BLOCK * self.rate))
        yield from self.pieces(range(0, self.frames, step), step)

    def pieces(self, starts, frames):
        """Pieces of so many samples from ascending places on, [frames] each,
        fewer at the end; float32.
        """
        for start in starts:
            block = self.samples[start : start + frames]
            yield to_mono(block, self.channel, self.name)


class FileRecording:
    """A sound file of any kind, any rate and channels.

    Where its header is wrong about its length all that is there is taken.

    Arguments
    ---------
    path : str or Path
    channel : int or "mean"
        Which channel to take, from 0 on, or the mean of all.

    Attributes
    ----------
    warnings : list of str
        What the user ought to know about it.
    """

    def __init__(self, path, channel="mean"):
        self.path = self.name = path
        self.channel = channel
        self.frames, self.warnings = 0, []
        if not os.path.isfile(path) or os.path.getsize(path):
            with opened(path, strict=False) as file:
                self.rate, self.frames = file.samplerate, file.frames
                self.channels = file.channels
                if file.complaint:
                    self.warnings = [
                        f"the file is damaged: {file.complaint}. All that "
                        "could be read is separated"
                    ]
        if self.frames < 1:
            raise UserError(f"{path} is empty: it has no samples.")
        check_channel(channel, self.channels, path)
        if channel == "mean" and self.channels > 1:
            with opened(path, strict=False) as file:
                blocks = self._read(file, self.frames)
                self.channel, warnings = judge_channels(blocks, self.rate)
            self.warnings += warnings

    def blocks(self):
        """As of `SignalRecording`."""
        with opened(self.path, strict=False) as file:
            for block in self._read(file, self.frames):
                yield to_mono(block, self.channel, self.path)

    def pieces(self, starts, frames):
        """As of `SignalRecording`, from about these places on."""
        with opened(self.path, strict=False) as file:
            for start in starts:
                file.seek_near(start)
                yield to_mono(file.read(frames), self.channel, self.path)

    def _read(self, file, left):
        """The next samples of an open file, in blocks."""
        step = max(1, int(BLOCK * self.rate))
        while left > 0:
            block = file.read(min(step, left))
            if not len(block):
                raise UserError(
                    f"{self.path} ends {left} samples too early. Copy or "
                    "make the file again."
                )
            left -= len(block)
            yield block


def judge_channels(blocks, rate):
    """What to take of several channels of which the mean was asked for, and
    warnings.

    Arguments
    ---------
    blocks : iterable of numpy.ndarray, each [T, channels]
    rate : int
        Samples per second.

    Returns
    -------
    channel : int or "mean"
        The loudest one where the mean would be next to nothing, as of a
        signal and its negative.
    warnings : list of str
    """
    covariance = 0.0
    with np.errstate(all="ignore"):  # what is not finite is refused later
        for block in blocks:
            # An offset and rumble may be alike where speech is not.
            rows = without_rumble(block.T.astype(np.float64), rate)
            covariance = covariance + rows @ rows.T
        power = covariance.diagonal()
        if covariance.mean() < CANCELLED * power.sum() / len(power) ** 2:
            loudest = int(power.argmax())
            return loudest, [
                "its channels are opposite and cancel each other out: "
                f"channel {loudest} was taken instead of their mean"
            ]
        heard = power > HEARD * power.max(initial=0)
        scale = np.sqrt(power[heard])
        alike = covariance[heard][:, heard] / np.outer(scale, scale)
        if alike.min(initial=1) < ALIKE:
            return "mean", [
                f"its channels differ (correlation {alike.min():.2f}), and "
                "their mean was separated. If each person has a channel, they "
                "are separate already; --channel each separates each channel"
            ]
    return "mean", []


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
