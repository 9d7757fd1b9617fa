"""Reading and writing sound files, with errors that name the file."""

import functools
import io
import math
import typing

import numpy as np
import soundfile

from ..common.errors import UserError
from ..common.files import atomic_path
from .opening import opened

SOUND_SUFFIXES = (".wav", ".flac")  # of mixtures and their sources


class AudioInfo(typing.NamedTuple):
    """What the header of a sound file says."""

    rate: int  # samples per second
    channels: int
    frames: int  # samples in each channel
    format: str  # of libsndfile, such as WAV; or FFMPEG
    subtype: str  # of libsndfile, such as PCM_16; or FFMPEG


def write_wav(path, samples, rate):
    """Write a mono 16-bit wav file whole or not at all.

    Arguments
    ---------
    path : str or Path
        The file to write.
    samples : numpy.ndarray, [T]
        int16, written as it is; or floating point with full scale at 1.0,
        rounded to the nearest 16-bit value and limited to full scale.
    rate : int
        Samples per second.
    """
    # Through memory: libsndfile waits for the disk at the end of every file,
    # and says "System error" when it is full.
    content = wav_bytes(samples, rate)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def wav_bytes(samples, rate):
    """The content of a file of `write_wav`."""
    if samples.dtype != np.int16:
        scaled = np.round(np.asarray(samples, dtype=np.float64) * 32768)
        samples = np.clip(scaled, -32768, 32767).astype(np.int16)
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format="WAV", subtype="PCM_16")
    return content.getvalue()


def audio_info(path):
    """Rate, channels and frames of a sound file, from its header, or by decoding
    it where it takes ffmpeg.

    Raises
    ------
    UserError
        When the file is missing, cut short or not a sound file.
    """
    with opened(path) as file:
        sizes = file.samplerate, file.channels, file.frames
        _refuse_damage(path, file)
        return AudioInfo(*sizes, file.format, file.subtype)


def _refuse_damage(path, file):
    if file.complaint:
        raise UserError(
            f"{path} is damaged: {file.complaint}. Copy or make the file again."
        )


def _truncated(path):
    return f"{path} is truncated. Copy or make the file again."


def read_audio(path, rate=None, start=0, frames=-1, channel=None, finite=True):
    """Read a mono sound file, or one channel of another.

    Arguments
    ---------
    path : str or Path
        A sound file of any kind, see `opening.opened`.
    rate : int, optional
        The sampling rate that the file must have.
    start : int
        First sample to read.
    frames : int
        Number of samples to read; -1 reads to the end.
    channel : int, optional
        The channel to take of a file with several, from 0 on.
    finite : bool
        Whether to refuse NaN and infinite samples.

    Returns
    -------
    samples : numpy.ndarray, [T]
        float32, full scale at 1.0.
    rate : int
        Samples per second.

    Raises
    ------
    UserError
        When the file is unreadable or truncated, is not mono, has another
        rate than asked for, or holds NaN or infinite samples unasked.
    """
    with opened(path) as file:
        wanted = file.frames - start if frames < 0 else frames
        channels, file_rate = file.channels, file.samplerate
        file.seek(start)
        samples = file.read(wanted, always_2d=True)
        _refuse_damage(path, file)
    check_format(path, channels if channel is None else 1, file_rate, rate)
    samples = samples[:, channel or 0]
    if len(samples) < wanted:  # a cut FLAC file
        raise UserError(_truncated(path))
    if finite and not np.isfinite(samples).all():
        raise UserError(
            f"{path} has NaN or infinite samples. Make the file again."
        )
    return samples, file_rate


def resample(samples, rate, wanted):
    """Change the sampling rate, in Hz, of floating-point samples [T] to another,
    by MATLAB's `resample` filter: [ceil(T * wanted / rate)].

    Example
    -------
    >>> resample(np.ones(16001), 16000, 8000).shape
    (8001,)
    """
    if rate == wanted:
        return samples
    import scipy.signal  # a second to import, and seldom needed

    common = math.gcd(rate, wanted)
    up, down = wanted // common, rate // common
    return scipy.signal.resample_poly(
        samples, up, down, window=_low_pass(max(up, down))
    )


@functools.cache  # designing it takes longer than resampling two seconds
def _low_pass(factor):
    import scipy.signal

    # As scipy's and MATLAB's resampling have it by default.
    taps = 2 * 10 * factor + 1
    return scipy.signal.firwin(taps, 1 / factor, window=("kaiser", 5.0))


def check_format(path, channels, file_rate, rate=None):
    """Raise `UserError` unless the file is mono and at the wanted rate."""
    if channels != 1:
        raise UserError(
            f"{path} has {channels} channels; one is expected. "
            "Convert it to mono."
        )
    if rate is not None and file_rate != rate:
        raise UserError(
            f"{path} has a sampling rate of {file_rate} Hz, but {rate} Hz is "
            f"expected. Resample the data or set --sample_rate={file_rate}."
        )
