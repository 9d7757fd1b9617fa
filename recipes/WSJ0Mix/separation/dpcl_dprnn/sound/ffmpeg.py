"""Sound that libsndfile does not read, decoded by ffmpeg: what phones, meetings
and videos hold (AAC, AMR, WMA), and SPHERE files compressed with shorten.
"""

import re
import shutil
import struct
import subprocess
import tempfile

import numpy as np

from ..common.errors import UserError

# No list of other files, and nothing of the network, whatever a file says.
FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,g722,"
    "g726,g729,gsm,loas,matroska,mov,mp3,mpeg,mpegts,nistsphere,ogg,shn,tak,"
    "tta,w64,wav,wv"
)
LOOSE = ("-ignore_length", "1")  # WAV up to its end, whatever the header says
SKIP = 1 << 20  # samples to read at a time on the way to others


def find_decoder():
    """Find ffmpeg: the path of that of imageio-ffmpeg, which starts fastest,
    or of the one on the PATH, or None.
    """
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):  # no package, no program in it
        return shutil.which("ffmpeg")


def require_decoder(path):
    """`find_decoder`, or a `UserError` that names a file that needs it."""
    decoder = find_decoder()
    if decoder is None:
        raise UserError(
            f"{path} takes ffmpeg to decode, and there is no program to decode "
            "it. Install one: pip install imageio-ffmpeg."
        )
    return decoder


class DecodedSound:
    """A sound file as ffmpeg decodes it, read forwards as `soundfile` would.

    Memory stays flat, nothing is written to the disk. Going back starts anew.

    Arguments
    ---------
    path : str or Path
    options : tuple of str
        Of ffmpeg, for its input.
    complaint : str
        What is known to be wrong with the file.

    Attributes
    ----------
    samplerate, channels : int

    Raises
    ------
    UserError
        When there is no ffmpeg, or it finds no sound.
    """

    format = subtype = "FFMPEG"

    def __init__(self, path, options=(), complaint=""):
        self.path, self.options, self.known = path, options, complaint
        self._frames = None
        self._open()

    def _open(self, seconds=0.0):
        command = [
            *(require_decoder(self.path), "-nostdin", "-v", "level+error"),
            *("-threads", "1", "-protocol_whitelist", "file"),
            *("-format_whitelist", FORMATS, *self.options),
            *(("-ss", f"{seconds:.6f}") if seconds else ()),
            # Without the protocol's name, a colon in the path would end one.
            *("-i", f"file:{self.path}", "-vn", "-map_metadata", "-1"),
            *("-c:a", "pcm_f32be", "-f", "au", "-"),
        ]
        self._errors = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=self._errors
            )
        except OSError as error:
            self._errors.close()
            raise self._cannot(error.strerror) from error
        self.position, self._ended = 0, False
        header = self._process.stdout.read(24)
        if len(header) < 24:
            error = self._cannot(self._last_words())
            self.close()
            raise error
        _, offset, *_, self.samplerate, self.channels = struct.unpack(
            ">4s5I", header
        )
        self._process.stdout.read(offset - len(header))

    def _last_words(self):
        """Wait for the end of the program; return why it may have ended."""
        status = self._process.wait()
        every = self._said(lambda line: line.strip())
        return self._said(_is_error) or every or f"exit status {status}"

    def close(self):
        """End the program."""
        self._process.kill()
        self._process.stdout.close()
        self._process.wait()
        self._errors.close()

    @property
    def complaint(self):
        """What is known to be wrong, or the first line of what ffmpeg has
        found wrong so far, or "".
        """
        return self.known or self._said(_is_error)

    def _said(self, wanted):
        """The first line that is wanted of what the program has said."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        line = next(filter(wanted, lines), "")
        line = re.sub(r"^(\[[^]]*\] *)+", "", line)
        # Where it names the file, and all the formats that it may have
        line = line.replace(f"file:{self.path}: ", "")
        return re.sub(r" '[^']{99,}'", "", line).strip().rstrip(".")

    @property
    def frames(self):
        """The number of samples, which takes decoding all of it; what is read
        next is the first one.
        """
        if self._frames is None:
            self.seek(0)
            while len(self.read(SKIP)):
                pass
            self._frames = self.position
            self.known = self.complaint  # when all is decoded
            self._ended = True
        return self._frames

    def seek(self, frame):
        """Go to a sample."""
        if frame < self.position or self._ended:
            self.close()
            self._open()
        while self.position < frame:
            if not len(self.read(min(SKIP, frame - self.position))):
                break

    def seek_near(self, frame):
        """Go to a sample, or one close by, without decoding what is before."""
        self.close()
        self._open(frame / self.samplerate)
        self.position = frame

    def read(self, frames, dtype="float32", always_2d=False):
        """The next samples, [T] or [T, channels], fewer at the end."""
        if self._ended:  # to count the samples, when nothing had been read
            self.seek(0)
        size = 4 * self.channels
        content = self._process.stdout.read(frames * size)
        content = content[: len(content) // size * size]
        samples = np.frombuffer(content, ">f4").astype(dtype)
        samples = samples.reshape(-1, self.channels)
        self.position += len(samples)
        if len(samples) < frames:
            last_words = self._last_words()
            if self._process.returncode:
                raise self._cannot(last_words)
        plain = self.channels == 1 and not always_2d
        return samples[:, 0] if plain else samples

    def _cannot(self, why):
        return UserError(
            f"ffmpeg cannot decode {self.path}: {why}. Copy the file again."
        )


def _is_error(line):
    """Whether ffmpeg calls a line an error; linkers may write there, too."""
    return "[error]" in line or "[fatal]" in line
