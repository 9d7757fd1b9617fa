"""Opening sound files: of any kind, and as strictly as they are meant for."""

import contextlib
import os
import re
import struct

import soundfile

from ..common.errors import UserError
from .ffmpeg import LOOSE, SKIP, DecodedSound

# What libsndfile reads, and what it takes ffmpeg for
SNDFILE_SUFFIXES = frozenset(
    ".aif .aifc .aiff .au .flac .mp3 .oga .ogg .opus .rf64 .snd .w64 "
    ".wav".split()
)
FFMPEG_SUFFIXES = frozenset(
    ".3g2 .3gp .aac .ac3 .amr .ape .asf .avi .awb .caf .flv .gsm .m4a .m4b "
    ".m4v .mka .mkv .mov .mp2 .mp4 .mpeg .mpg .tta .weba .webm .wma .wmv "
    ".wv".split()
)

# Sizes from here up stand for "unknown" in WAV files written to a pipe.
STREAMED = 0x7FFFF000
CUT = re.compile(r": (\d{1,9}) \(should be (\d+)\)")  # in libsndfile's log


class Sndfile:
    """A file of libsndfile, some of whose codecs cannot be sought in: there
    what is before a sample is read, and going back starts anew.
    """

    def __init__(self, path, complaint=""):
        self.path = path
        self._open()
        cut = CUT.search(self.file.extra_info)
        if cut and not complaint and self.file.format in ("AIFF", "AU", "W64"):
            complaint = f"it says {cut[1]} bytes, and there are {cut[2]}"
        self.complaint = complaint

    def _open(self):
        self.file = soundfile.SoundFile(self.path)
        self.position = 0  # of a file that cannot be sought in

    def __getattr__(self, name):
        return getattr(self.file, name)  # such as samplerate

    def seek(self, frame):
        """Go to a sample."""
        if self.seekable():
            self.file.seek(frame)
            return
        if frame < self.position:
            self.close()
            self._open()
        while self.position < frame:
            if not len(self.read(min(SKIP, frame - self.position))):
                break

    seek_near = seek

    def read(self, frames, dtype="float32", always_2d=False):
        """The next samples, [T] or [T, channels], fewer at the end."""
        samples = self.file.read(frames, dtype, always_2d)
        self.position += len(samples)
        return samples


@contextlib.contextmanager
def opened(path, strict=True):
    """Open a sound file; say which one it was if that or reading fails.

    Arguments
    ---------
    path : str or Path
    strict : bool
        Whether to refuse WAV files whose header is wrong about their length.
        Otherwise they are read up to the end of the file.

    Yields
    ------
    Sndfile or ffmpeg.DecodedSound
        Its `complaint` says what is wrong, if anything.

    Raises
    ------
    UserError
        When the file is missing, truncated or no sound file.
    """
    if not os.path.exists(path):
        raise UserError(f"{path} does not exist.")
    if not os.path.isfile(path):  # a pipe would be waited for
        raise UserError(f"Cannot read {path} as sound: it is not a file.")
    try:
        with contextlib.closing(_open(path)) as file:
            if file.complaint and strict:
                raise UserError(
                    f"{path} is truncated, or its header is wrong: "
                    f"{file.complaint}. Copy or make the file again."
                )
            yield file
    except (
        soundfile.LibsndfileError,
        OSError,
        UnicodeEncodeError,  # a name that is not UTF-8
    ) as error:
        raise _unreadable(path, error) from error


def _unreadable(path, error):
    why = str(error).rstrip(".")
    return UserError(
        f"Cannot read {path} as sound: {why}. Replace or remove the file."
    )


def _open(path):
    """A file as libsndfile opens it, or else ffmpeg."""
    complaint, options = _wrong_length(path)
    if options:
        return DecodedSound(path, options, complaint)
    try:
        return Sndfile(str(path), complaint)
    except soundfile.LibsndfileError as error:
        try:
            return DecodedSound(path)
        except UserError as other:
            suffix = os.path.splitext(path)[1].lower()
            if suffix in FFMPEG_SUFFIXES or "no program" in str(other):
                raise
            raise _unreadable(path, error) from other


def _wrong_length(path):
    """How the header of a WAV file is wrong about its length, or "", and with
    what options ffmpeg reads it if libsndfile would not read all of it.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        form, _, kind = struct.unpack("<4sI4s", file.read(12).ljust(12))
        if form not in (b"RIFF", b"RF64") or kind != b"WAVE":
            return "", ()
        said = long_form = None
        for name, length in _chunks(file):
            if name == b"ds64":  # the lengths of a file that has RF64
                long_form = struct.unpack("<8xQ", file.read(16).ljust(16))[0]
            if name == b"data":
                said = long_form if length == 0xFFFFFFFF else length
                break
        if said is None or (form == b"RIFF" and said >= STREAMED):
            return "", ()
        there = size - file.tell()
        complaint = f"it says {said} bytes of sound, and there are {there}"
        if said > there:
            return complaint, ()
        file.seek(said + said % 2, os.SEEK_CUR)
        rest = size - file.tell()
        # What is short may be anything, such as the tag of a player.
        short = rest < 1024 or rest < said / 100
        if (said or not rest) and (short or _are_chunks(file, rest)):
            return "", ()
        return complaint, LOOSE


def _chunks(file):
    """The name and length of each chunk of a WAV file; the file is where the
    chunk's content begins.
    """
    while len(head := file.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        place = file.tell()
        yield name, length
        file.seek(place + length + length % 2)


def _are_chunks(file, rest):
    """Whether chunks are all that follows, by their names and lengths."""
    return all(
        name.isascii() and name.decode().isprintable() and length <= rest
        for name, length in _chunks(file)
    )
