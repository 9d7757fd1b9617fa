"""Reading speech as the LDC ships it: NIST SPHERE files.

Plain ones are libsndfile's business; those that are compressed with shorten
go through ffmpeg.
"""

import contextlib
import os
import re

from ..common.errors import UserError
from .audio import AudioInfo, audio_info, check_format, read_audio
from .ffmpeg import DecodedSound

MAGIC = b"NIST_1A\n"
SHORTEN = b"ajkg"  # how shorten's data begin
PREAMBLE = 16  # bytes: the magic and the size of the header
FIELD = re.compile(r"^(\w+)[ \t]+-i[ \t]+0*([1-9]\d*)[ \t]*$", re.MULTILINE)


def is_sphere(path):
    """Whether a file is a NIST SPHERE file, by how it begins; `UserError`
    where it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise UserError(
            f"Cannot read {path}: {error.strerror}. Replace or remove the file."
        ) from error


def speech_info(path):
    """The `AudioInfo` of a sound file of any kind, whatever its suffix; of one of
    SPHERE by its header, with format `NIST` and subtype `SHORTEN` where that is
    so.

    Raises
    ------
    UserError
        When the file is missing, broken or truncated; a truncated compressed
        file shows only when it is read.
    """
    if not is_sphere(path):
        return audio_info(path)
    with open(path, "rb") as file:
        size = file.read(PREAMBLE)[len(MAGIC) :].strip()
        size = int(size) if size.isdigit() else 0
        if size <= PREAMBLE:
            raise _broken(path, "does not say how long it is")
        text = file.read(size - PREAMBLE).decode("latin-1")
        is_compressed = file.read(len(SHORTEN)) == SHORTEN
        data_bytes = os.fstat(file.fileno()).st_size - size
    text, end, _ = text.partition("\nend_head")
    if not end:
        raise _broken(path, "is truncated: it has no end_head")
    fields = {name: int(number) for name, number in FIELD.findall(text)}
    wanted = ("sample_rate", "channel_count", "sample_count", "sample_n_bytes")
    for name in wanted[:3] if is_compressed else wanted:
        if name not in fields:
            raise _broken(path, f"has no {name} above 0")
    rate, channels, frames = (fields[name] for name in wanted[:3])
    if is_compressed:
        return AudioInfo(rate, channels, frames, "NIST", "SHORTEN")
    if data_bytes < frames * channels * fields["sample_n_bytes"]:
        raise _truncated(path)
    # libsndfile goes by the size of the file; the header knows better.
    return audio_info(path)._replace(frames=frames)


def read_speech(path):
    """Read a mono sound file of any kind, SPHERE too, whatever its suffix.

    Returns
    -------
    samples : numpy.ndarray, [T]
        float32, full scale at 1.0.
    rate : int
        Samples per second.

    Raises
    ------
    UserError
        When the file is unreadable, truncated or not mono, or is compressed
        with shorten and there is no ffmpeg or it fails.
    """
    info = speech_info(path)
    check_format(path, info.channels, info.rate)
    if info.subtype == "SHORTEN":
        return _decode(path, info.frames), info.rate
    # What follows the samples of a SPHERE file is none.
    return read_audio(path, frames=info.frames)


def _decode(path, frames):
    """The samples of a compressed mono file, float32, full scale at 1.0."""
    sound = DecodedSound(path, ("-f", "nistsphere"))
    with contextlib.closing(sound):
        samples = sound.read(frames)
    if len(samples) < frames:
        raise _truncated(path)
    return samples


def _broken(path, what):
    return UserError(
        f"The SPHERE header of {path} {what}. Copy the file again."
    )


def _truncated(path):
    return UserError(f"{path} is truncated. Copy the file again.")
