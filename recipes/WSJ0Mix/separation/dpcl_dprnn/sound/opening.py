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
CUT = re.compile(r": (\d+) \(should be (\d+)\)")  # in libsndfile's log
COUNT = re.compile(rb"sample_count\s+-i\s+(\d+)")  # in a SPHERE header
HEADER = 1024  # bytes of that
UNKNOWN = 2**62  # libsndfile's number of frames is higher if it is unknown
COUNTER = 0xFFFFFFFF  # bytes, beyond which libsndfile needs a header for more
JUNK = 1024  # bytes after the samples that are no sound


class Sndfile:
    """A file of libsndfile, some of whose codecs cannot be sought in: there
    what is before a sample is read, and going back starts anew.

    Arguments
    ---------
    path : str
    complaint : str
        What is known to be wrong with the file.
    patches : dict of int to bytes
        What is to be read in some places instead of what is there.
    """

    def __init__(self, path, complaint="", patches=None):
        self.path, self.patches = path, patches
        self._open()
        self.complaint = complaint or self._find_wrong()

    def _open(self):
        path = self.path
        self.content = Patched(path, self.patches) if self.patches else path
        self.file = soundfile.SoundFile(self.content)
        self.position = 0  # of a file that cannot be sought in

    def close(self):
        """Close the file."""
        self.file.close()
        if self.patches:
            self.content.close()

    def _find_wrong(self):
        """What is wrong with the length of a file that is not WAV, or ""."""
        if self.format == "NIST":
            with open(self.path, "rb") as file:
                said = COUNT.search(file.read(HEADER))
            if said and int(said[1]) > self.frames:
                return (
                    f"it says {int(said[1])} samples, and there are "
                    f"{self.frames}"
                )
        cut = CUT.search(self.file.extra_info)
        if cut and not self.format.startswith(("WAV", "RF64")):
            said, there = int(cut[1]), int(cut[2])
            if there + 8 < said != 0xFFFFFFFF:  # unknown
                return f"it says {said} bytes, and there are {there}"
        return ""

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
        complaint, patches = _wrong_length(path)
        if strict:
            _refuse(path, complaint)
        with contextlib.closing(_open(path, complaint, patches)) as file:
            if strict:
                _refuse(path, file.complaint)
            yield file
    except (
        soundfile.LibsndfileError,
        OSError,
        UnicodeEncodeError,  # a name that is not UTF-8
    ) as error:
        raise _unreadable(path, error) from error


def _refuse(path, complaint):
    if complaint:
        raise UserError(
            f"{path} is truncated, or its header is wrong: {complaint}. Copy "
            "or make the file again."
        )


def _unreadable(path, error):
    why = str(error).rstrip(".")
    return UserError(
        f"Cannot read {path} as sound: {why}. Replace or remove the file."
    )


def _open(path, complaint, patches):
    """A file as libsndfile opens it, or else ffmpeg."""
    try:
        if patches and os.path.getsize(path) > COUNTER:
            return DecodedSound(path, LOOSE, complaint)
        file = Sndfile(str(path), complaint, patches)
        if file.frames < UNKNOWN:
            return file
        file.close()  # FLAC that was written to a pipe
        return DecodedSound(path)
    except (soundfile.LibsndfileError, TypeError) as error:
        # TypeError: a suffix for which soundfile wants to be told the rest
        if "No 'data' chunk" in str(error):  # ffmpeg would look for it long
            raise
        try:
            return DecodedSound(path)
        except UserError as other:
            suffix = os.path.splitext(path)[1].lower()
            if suffix in FFMPEG_SUFFIXES or "no program" in str(other):
                raise
            raise _unreadable(path, error) from other


class Patched:
    """A binary file in which some places read otherwise, for `soundfile`."""

    def __init__(self, path, patches):
        self.file = open(path, "rb")
        self.patches = patches
        self.seek, self.tell = self.file.seek, self.file.tell
        self.close = self.file.close

    def read(self, size=-1):
        """The next bytes."""
        start = self.tell()
        content = bytearray(self.file.read(size))
        for place, patch in self.patches.items():
            for offset, byte in enumerate(patch, place - start):
                if 0 <= offset < len(content):
                    content[offset] = byte
        return bytes(content)


def _wrong_length(path):
    """How the header of a WAV file is wrong about its length, or "", and the
    patches with which all of it is read, if libsndfile would not.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        form, kind = struct.unpack("<4s4x4s", file.read(12).ljust(12))
        if form not in (b"RIFF", b"RIFX", b"RF64") or kind != b"WAVE":
            return "", None
        order = ">" if form == b"RIFX" else "<"
        said = long_form = None
        for name, length in _chunks(file, order):
            if name == b"ds64":  # the lengths of a file that has RF64
                long_place = file.tell() + 8
                long_form = struct.unpack("<8xQ", file.read(16).ljust(16))[0]
            if name == b"data":
                said = long_form if length == 0xFFFFFFFF else length
                break
        if said is None:
            return "", None
        start = file.tell()
        there = size - start
        if said > there:
            if form != b"RF64" and said >= STREAMED:
                return "", None
            return _lengths(said, there), None
        file.seek(said + said % 2, os.SEEK_CUR)
        rest = size - file.tell()
        # What is short may be anything, such as the tag of a player.
        short = said and rest < JUNK
        if rest < 1 or short or _are_chunks(file, order, rest):
            return "", None
        patches = {start - 4: b"\xff" * 4}
        if long_form is not None:
            patches = {long_place: struct.pack("<Q", there)}
        return _lengths(said, there), patches


def _lengths(said, there):
    return f"it says {said} bytes of sound, and there are {there}"


def _chunks(file, order):
    """The name and length of each chunk of a WAV file, up to what is none; the
    file is where the chunk's content begins.
    """
    while len(head := file.read(8)) == 8 and _is_name(head[:4]):
        name, length = struct.unpack(f"{order}4sI", head)
        place = file.tell()
        yield name, length
        file.seek(place + length + length % 2)


def _is_name(name):
    return name.isascii() and name.decode().isprintable()


def _are_chunks(file, order, rest):
    """Whether what follows begins with a chunk, by its name and length."""
    first = next(_chunks(file, order), None)
    return first is not None and first[1] <= rest
