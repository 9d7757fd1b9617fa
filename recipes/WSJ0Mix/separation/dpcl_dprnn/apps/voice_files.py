"""Voices to sound files, piece by piece: all files of a recording or none."""

import contextlib
import math
import os
import pathlib
import re
import shutil
import tempfile

import numpy as np
import soundfile

from ..common.errors import UserError, writing_error

VOICE = "{}_s{}.{}"  # recording, number from 1 on, format
VOICES = re.compile(r"(.+)_s[1-9]\d*\.(wav|flac)")
LARGE = 4e9  # bytes; from here a WAV file needs the RF64 form
COPY = 1 << 20  # samples to convert at a time


def written_before(folder, name, format):
    """The files of an earlier run that voices would replace.

    Arguments
    ---------
    folder : Path
    name : str
        Of the recording, without suffix.
    format : str
        "wav" or "flac".

    Returns
    -------
    list of Path

    Raises
    ------
    UserError
        When the folder cannot be read.
    """
    try:
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise writing_error(folder, error) from error
    matches = [(path, VOICES.fullmatch(path.name)) for path in paths]
    return [path for path, m in matches if m and m.groups() == (name, format)]


def write_voices(stream, frames, folder, name, format="wav", before=()):
    """Write each voice to a file of its own, `NAME_s1.wav` and so on.

    WAV files hold 32-bit floating point, which nothing can clip. FLAC files
    hold 24 bits; where a voice would clip all are turned down alike.

    Arguments
    ---------
    stream : separator.VoiceStream
    frames : int
        Samples of each voice.
    folder : Path
    name : str
    format : str
        "wav" or "flac".
    before : list of Path
        Of `written_before`, to remove where there were more voices.

    Returns
    -------
    paths : list of Path
    gain_db : float
        That all voices were given, 0 or less.

    Raises
    ------
    UserError
        When a file cannot be written.
    """
    numbers = range(1, stream.count + 1)
    paths = [folder / VOICE.format(name, n, format) for n in numbers]
    with _as_user_errors(folder / name):
        folder.mkdir(parents=True, exist_ok=True)
        scratch = pathlib.Path(tempfile.mkdtemp(prefix=".", dir=folder))
        try:
            parts = [scratch / path.name for path in paths]
            gain = _write(stream, frames, parts, format)
            for part, path in zip(parts, paths, strict=True):
                os.replace(part, path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    for path in set(before) - set(paths):
        with _as_user_errors(path):
            path.unlink(missing_ok=True)
    return paths, gain


def write_together(stream, frames, file, format="wav"):
    """Write the voices as channels of one file, to a binary stream; return
    the gain in dB that all were given, 0 or less.

    Arguments
    ---------
    stream : separator.VoiceStream
    frames : int
        Samples of each voice.
    file : binary file
        May be a pipe.
    format : str
        "wav" or "flac".

    Raises
    ------
    UserError
        When nobody speaks, or the file cannot be written.
    BrokenPipeError
        When nobody reads it any more.
    """
    if not stream.count:
        raise UserError("Nobody speaks: there is no voice to write.")
    with (
        _as_user_errors("standard output"),
        tempfile.TemporaryDirectory() as scratch,
    ):
        path = pathlib.Path(scratch, f"voices.{format}")
        gain = _write(stream, frames, [path], format)
        with open(path, "rb") as whole:
            shutil.copyfileobj(whole, file)
        file.flush()
    return gain


@contextlib.contextmanager
def _as_user_errors(place):
    try:
        yield
    except BrokenPipeError:  # not an error of writing: nobody wants more
        raise
    except OSError as error:
        raise writing_error(place, error) from error
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"Cannot write {place}: {error} Free some space, or choose "
            "another folder, format or sampling rate."
        ) from error


def _write(stream, frames, paths, format):
    """Write voices to as many files, or to one file as its channels; return
    their gain in dB.
    """
    channels = stream.count // max(1, len(paths))
    plain = [path.with_suffix(".part") for path in paths]
    large = 4 * frames * channels > LARGE
    files = [
        soundfile.SoundFile(
            part,
            "w",
            stream.rate,
            channels,
            subtype="FLOAT",
            format="RF64" if large else "WAV",
        )
        for part in plain
    ]
    peak = 0.0
    try:
        for block in stream.blocks:
            peak = max(peak, np.abs(block).max(initial=0.0))
            for index, file in enumerate(files):
                rows = block[index * channels : (index + 1) * channels]
                file.write(rows.T)
    finally:
        for file in files:
            file.close()
    gain = 1.0
    if format == "flac":
        gain = min(1.0, 0.999 / max(peak, 1e-9))
    for part, path in zip(plain, paths, strict=True):
        if format == "wav":
            os.replace(part, path)
        else:
            _convert(part, path, gain)
            part.unlink()
    return round(20 * math.log10(gain), 2)


def _convert(source, path, gain):
    """Copy a file of floating point to 24-bit FLAC."""
    with (
        soundfile.SoundFile(source) as old,
        soundfile.SoundFile(
            path, "w", old.samplerate, old.channels, "PCM_24", format="FLAC"
        ) as new,
    ):
        while len(samples := old.read(COPY, dtype="float32")):
            new.write(samples * np.float32(gain))
