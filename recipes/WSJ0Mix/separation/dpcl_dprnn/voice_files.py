"""Voices to sound files, piece by piece: all files of a recording or none."""

import os
import pathlib
import re
import shutil
import tempfile

import numpy as np
import soundfile

from .errors import UserError, writing_error

SUFFIXES = {"wav": ".wav", "flac": ".flac"}
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
    """
    pattern = re.escape(name) + r"_s\d+" + re.escape(SUFFIXES[format])
    if not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if re.fullmatch(pattern, p.name))


def write_voices(stream, frames, folder, name, format="wav"):
    """Write each voice to a file of its own, `NAME_s1.wav` and so on.

    WAV files hold 32-bit floating point, which nothing can clip. FLAC files
    hold 24 bits; where a voice would clip all are turned down alike.

    Arguments
    ---------
    stream : inference.VoiceStream
    frames : int
        Samples of each voice.
    folder : Path
    name : str
    format : str
        "wav" or "flac".

    Returns
    -------
    list of Path

    Raises
    ------
    UserError
        When a file cannot be written.
    """
    paths = [
        folder / f"{name}_s{number + 1}{SUFFIXES[format]}"
        for number in range(stream.count)
    ]
    scratch = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = pathlib.Path(tempfile.mkdtemp(prefix=".", dir=folder))
        parts = [scratch / path.name for path in paths]
        _write(stream, frames, parts, format)
        for part, path in zip(parts, paths, strict=True):
            os.replace(part, path)
    except (OSError, soundfile.LibsndfileError) as error:
        if isinstance(error, OSError):
            raise writing_error(folder / name, error) from error
        raise UserError(
            f"Cannot write {folder / name}: {error} Free some space, or "
            "choose another folder, format or sampling rate."
        ) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    return paths


def write_together(stream, frames, file, format="wav"):
    """Write the voices as channels of one file, to a binary stream.

    Arguments
    ---------
    stream : inference.VoiceStream
    frames : int
        Samples of each voice.
    file : binary file
        May be a pipe.
    format : str
        "wav" or "flac".
    """
    if not stream.count:
        raise UserError("Nobody speaks: there is no voice to write.")
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch, f"voices{SUFFIXES[format]}")
        _write(stream, frames, [path], format)
        with open(path, "rb") as whole:
            shutil.copyfileobj(whole, file)
        file.flush()


def _write(stream, frames, paths, format):
    """Write voices to as many files, or to one file as its channels."""
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
    for part, path in zip(plain, paths, strict=True):
        if format == "wav":
            os.replace(part, path)
        else:
            _convert(part, path, gain=min(1.0, 0.999 / max(peak, 1e-9)))
            part.unlink()


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
