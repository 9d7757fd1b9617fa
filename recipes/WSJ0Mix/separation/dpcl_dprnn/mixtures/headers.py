"""What is to be known of utterances before they are mixed."""

import concurrent.futures
import hashlib
import os
import typing

import tqdm

from ..common.audio import AudioInfo, check_format
from ..common.errors import UserError
from ..speech.sphere import speech_info

PIECE = 4096  # bytes of a file that stand for all of it


class Header(typing.NamedTuple):
    """An utterance without its samples."""

    info: AudioInfo
    digest: str  # another one for other samples, even of the same length

    @property
    def is_compressed(self):
        """Whether it takes a program to read it, see `sphere.read_speech`."""
        return self.info.subtype == "SHORTEN"

    @property
    def seconds(self):
        """How long it is."""
        return self.info.frames / self.info.rate


def read_headers(files, progress=True):
    """Read the headers of utterances, and a little of what they hold.

    Arguments
    ---------
    files : iterable of str
        Mono files of speech; each is read once.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict
        `{file: Header}`, sorted.

    Raises
    ------
    UserError
        When a file is missing, broken, truncated or not mono.
    """
    files = sorted(set(files))
    # Threads: the time goes in waiting for the disk.
    pool = concurrent.futures.ThreadPoolExecutor()
    try:
        bar = tqdm.tqdm(
            pool.map(_read_header, files),
            "reading headers",
            len(files),
            unit="file",
            disable=None if progress else True,
        )
        return dict(zip(files, bar, strict=True))
    finally:
        pool.shutdown(cancel_futures=True)


def _read_header(file):
    info = speech_info(file)
    check_format(file, info.channels, info.rate)
    return Header(info, _digest(file))


def _digest(file):
    """Of the size of a file and the middle of what it holds.

    Not of its time stamp: a copy of the speech is the same speech.
    """
    try:
        with open(file, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            opened.seek(max(0, (size - PIECE) // 2))
            piece = opened.read(PIECE)
    except OSError as error:
        raise UserError(
            f"Cannot read {file}: {error.strerror}. Replace or remove the file."
        ) from error
    return hashlib.sha256(b"%d " % size + piece).hexdigest()
