"""Decodes compressed utterances once, where each is wanted several times."""

import hashlib
import os

from ..common.audio import write_wav
from ..common.parallel import parallel_map
from ..speech.speakers import read_utterance


def decode_all(files, folder, jobs=None, progress=True):
    """Decode files into a folder, but for those that are there.

    Starting a decoder takes longer than mixing, and wsj0-mix has an utterance
    in several mixtures.

    Arguments
    ---------
    files : list of str
        Mono files of speech.
    folder : pathlib.Path
        Where the wav files go; it is made if there is something to decode.
    jobs : int, optional
        Processes; as many as there are cores by default.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict
        `{file: wav file}`.

    Raises
    ------
    UserError
        When a file cannot be decoded or is silent, or the disk is full.
    """
    decoded = {file: str(folder / _name(file)) for file in files}
    missing = [each for each in decoded.items() if not os.path.exists(each[1])]
    if missing:
        for _ in parallel_map(
            _decode, missing, "file", jobs, progress=progress, name="decoding"
        ):
            pass
    return decoded


def _name(file):
    """A name of its own for each version of a file."""
    stat = os.stat(file)
    text = f"{os.path.abspath(file)} {stat.st_size} {stat.st_mtime_ns}"
    return hashlib.sha256(text.encode()).hexdigest()[:32] + ".wav"


def _decode(task):
    file, decoded = task
    samples, rate = read_utterance(file)
    write_wav(decoded, samples, rate)
