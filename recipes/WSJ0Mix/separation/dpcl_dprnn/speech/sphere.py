"""Reading speech as the LDC ships it: NIST SPHERE files.

Plain ones are libsndfile's business; those that are compressed with shorten
go through a program, `sph2pipe` or `ffmpeg`, whichever is there.
"""

import io
import os
import pathlib
import re
import shutil
import subprocess
import threading

import soundfile

from ..common.audio import AudioInfo, audio_info, check_format, read_audio
from ..common.errors import UserError

MAGIC = b"NIST_1A\n"
SHORTEN = b"ajkg"  # how shorten's data begin
PREAMBLE = 16  # bytes: the magic and the size of the header
LARGEST_HEADER = 1 << 20
FIELD = re.compile(r"([^\s;]\S*)[ \t]+-(i|r|s\d+)(?:[ \t](.*))?")

# Arguments of the decoders; {} is the file, WAV goes to the standard output.
SPH2PIPE = ("-f", "wav", "{}")
FFMPEG = (
    *("-nostdin", "-v", "error", "-threads", "1"),
    # Without the protocol's name, a colon in the path would end one.
    *("-f", "nistsphere", "-i", "file:{}", "-f", "wav", "-"),
)


def is_sphere(path):
    """Whether a file is a NIST SPHERE file, by how it begins.

    Raises
    ------
    UserError
        When the file cannot be read.
    """
    with _opened(path) as file:
        return file.read(len(MAGIC)) == MAGIC


def speech_info(path):
    """Rate, channels and samples of a file of speech, from its header.

    Arguments
    ---------
    path : str or Path
        A WAV, FLAC or SPHERE file, whatever its suffix.

    Returns
    -------
    AudioInfo
        Format `NIST` and subtype `SHORTEN` where that is so.

    Raises
    ------
    UserError
        When the file is missing, broken or truncated; a truncated compressed
        file shows only when it is read.
    """
    return _inspect(path)[0]


def read_speech(path):
    """Read a mono file of speech.

    Arguments
    ---------
    path : str or Path
        A WAV, FLAC or SPHERE file, whatever its suffix.

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
        with shorten and there is no decoder or the decoder fails.
    """
    info, is_sphere = _inspect(path)
    check_format(path, info.channels, info.rate)
    if info.subtype == "SHORTEN":
        return _decode(path, info.frames), info.rate
    # What follows the samples of a SPHERE file is none.
    return read_audio(path, frames=info.frames if is_sphere else -1)


def find_decoder():
    """Find a program that decodes shorten-compressed SPHERE files.

    Returns
    -------
    tuple or None
        The program and its arguments, where `{}` stands for the file:
        `sph2pipe` on the PATH, or ffmpeg: that of imageio-ffmpeg, which
        starts fastest, or the one on the PATH.
    """
    program = shutil.which("sph2pipe")
    if program:
        return (program, *SPH2PIPE)
    try:
        import imageio_ffmpeg

        program = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # no package, no program in it
        program = shutil.which("ffmpeg")
    return (program, *FFMPEG) if program else None


def require_decoder(path):
    """Find a decoder, see `find_decoder`.

    Arguments
    ---------
    path : str or Path
        A compressed file, for the message.

    Returns
    -------
    tuple

    Raises
    ------
    UserError
        When there is none.
    """
    decoder = find_decoder()
    if decoder is None:
        raise UserError(
            f"{path} is compressed with shorten, and there is no program to "
            "decode it. Install one: pip install imageio-ffmpeg, or sph2pipe."
        )
    return decoder


def _opened(path):
    try:
        return open(path, "rb")
    except OSError as error:
        raise UserError(
            f"Cannot read {path}: {error.strerror}. Replace or remove the file."
        ) from error


def _inspect(path):
    """The `AudioInfo` of a file, and whether it is a SPHERE file."""
    with _opened(path) as file:
        if file.read(len(MAGIC)) != MAGIC:
            return audio_info(path), False
        file.seek(0)
        fields, size = _read_fields(file, path)
        is_compressed = file.read(len(SHORTEN)) == SHORTEN
        data_bytes = os.fstat(file.fileno()).st_size - size
    rate, channels, frames = (
        _count(fields, name, path)
        for name in ("sample_rate", "channel_count", "sample_count")
    )
    if is_compressed:
        return AudioInfo(rate, channels, frames, "NIST", "SHORTEN"), True
    whole = frames * channels * _count(fields, "sample_n_bytes", path)
    if data_bytes < whole:
        raise UserError(_truncated(path))
    # libsndfile goes by the size of the file; the header knows better.
    return audio_info(path)._replace(frames=frames), True


def _read_fields(file, path):
    """The fields of a SPHERE header and its size in bytes."""
    preamble = file.read(PREAMBLE)
    size = preamble[len(MAGIC) :].strip()
    if not (preamble.startswith(MAGIC) and size.isdigit()):
        raise UserError(_broken(path, "does not begin like one"))
    size = int(size)
    if not PREAMBLE < size <= LARGEST_HEADER:
        raise UserError(_broken(path, f"has a size of {size} bytes"))
    text = file.read(size - PREAMBLE).decode("latin-1")
    fields = {}
    for line in text.split("\n"):
        if line.strip() == "end_head":
            if len(text) < size - PREAMBLE:
                raise UserError(_truncated(path))
            return fields, size
        if line.strip() and not line.startswith(";"):  # a comment
            name, value = _parse_field(line, path)
            fields[name] = value
    raise UserError(_broken(path, "has no end_head"))


def _parse_field(line, path):
    """`name -i 1`, `name -r 0.5` or `name -s3 abc` as (name, value)."""
    match = FIELD.fullmatch(line)
    try:
        name, kind, value = match.groups(default="")
        if kind == "i":
            return name, int(value)
        if kind == "r":
            return name, float(value)
    except (AttributeError, ValueError):
        raise UserError(_broken(path, f"has the line {line!r}")) from None
    return name, value[: int(kind[1:])]


def _count(fields, name, path):
    """A field that must be a number above 0."""
    value = fields.get(name)
    if not isinstance(value, int) or value < 1:
        found = f"has {name} {value}" if name in fields else f"has no {name}"
        raise UserError(_broken(path, found))
    return value


def _decode(path, frames):
    """The samples of a compressed mono file, float32, full scale at 1.0."""
    decoder = require_decoder(path)
    output, complaint = _run(decoder, path)
    if complaint is None:
        try:
            samples, _ = soundfile.read(io.BytesIO(output), dtype="float32")
        except soundfile.LibsndfileError as error:
            complaint = str(error)
    if complaint is not None:
        raise UserError(
            f"{pathlib.Path(decoder[0]).name} cannot decode {path}: "
            f"{complaint.rstrip('.')}. Copy the file again."
        )
    if len(samples) < frames:
        raise UserError(_truncated(path))
    return samples[:frames]


def _run(decoder, path):
    """What a decoder writes, and what it complains of if it fails."""
    # The path in full: a name may begin with "-".
    path = os.path.abspath(path)
    words = [word.replace("{}", path) for word in decoder[1:]]
    first_lines = []
    try:
        with subprocess.Popen(
            [decoder[0], *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            watch = threading.Thread(
                target=_listen, args=(process, first_lines)
            )
            watch.start()
            output = process.stdout.read()
            watch.join()
    except OSError as error:
        return b"", error.strerror
    complaint = first_lines[0] if first_lines else ""
    if process.returncode or "premature EOF" in complaint:
        return b"", complaint or f"exit status {process.returncode}"
    return output, None


def _listen(process, first_lines):
    """Keep the first line of what a process complains of."""
    for line in process.stderr:
        if not first_lines:
            first_lines.append(line.decode(errors="replace").strip())
            # sph2pipe goes on with noise for samples, at times for ever.
            if "premature EOF" in first_lines[0]:
                process.kill()


def _broken(path, what):
    return f"The SPHERE header of {path} {what}. Copy the file again."


def _truncated(path):
    return f"{path} is truncated. Copy the file again."
