"""Speech decoded once, in a file that all processes map into memory."""

import hashlib
import json
import os
import pathlib

import numpy as np

from .audio import atomic_path, read_audio, resample, write_text
from .errors import UserError
from .levels import active_level
from .parallel import parallel_map
from .speakers import read_utterance


class SpeechStore:
    """Utterances at one sampling rate, to read any piece of at once.

    Made by `open_store`. The samples stay on the disk, and in memory only as
    long as the system has some to spare, once for all processes.

    Arguments
    ---------
    path : pathlib.Path
        The file of samples, int16; its index lies beside it.
    """

    def __init__(self, path):
        self.path = path
        index = json.loads(path.with_suffix(".json").read_text("utf-8"))
        self.rate = index["rate"]
        self.names = index["names"]
        self.lengths = np.array(index["lengths"])  # samples
        self.levels = np.array(index["levels"])  # active, as mean squares
        self.starts = self.lengths.cumsum() - self.lengths
        self._samples = None

    def __len__(self):
        return len(self.names)

    def __getstate__(self):
        # NumPy would send the samples themselves to another process.
        return {**self.__dict__, "_samples": None}

    def read(self, index, start=0, length=None):
        """A piece of an utterance.

        Arguments
        ---------
        index : int
            Number of the utterance.
        start : int
            First sample.
        length : int, optional
            Number of samples; by default all that follow.

        Returns
        -------
        numpy.ndarray, [T]
            float32, full scale at 1.0.
        """
        if self._samples is None:
            self._samples = np.memmap(self.path, np.int16, mode="r")
        first = self.starts[index] + start
        end = self.starts[index] + self.lengths[index]
        if length is not None:
            end = min(end, first + length)
        return self._samples[first:end] * np.float32(1 / 32768)


def open_store(
    speech, names, rate, folder, channel=None, jobs=None, progress=True
):
    """Decode utterances, or find that it has been done.

    Arguments
    ---------
    speech : str or Path
        Folder of the utterances.
    names : list of str
        Paths relative to it.
    rate : int
        Sampling rate to have them at, in Hz.
    folder : str or Path
        Where the store is kept: two bytes a sample, 58 MB an hour at 8 kHz.
        Stores of other utterances and rates may lie there too.
    channel : int, optional
        The channel to take of files that have several.
    jobs : int, optional
        Processes; as many as there are cores by default.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    SpeechStore

    Raises
    ------
    UserError
        When an utterance cannot be read or is silent, or the disk is full.
    """
    speech = pathlib.Path(os.path.abspath(speech))
    digest = hashlib.sha256(f"{speech} {rate} {channel}\n".encode())
    for name in names:
        try:
            stat = os.stat(speech / name)
        except OSError as error:
            raise UserError(
                f"Cannot read {speech / name}: {error.strerror}. Replace or "
                "remove the file."
            ) from error
        line = f"{name} {stat.st_size} {stat.st_mtime_ns}\n"
        digest.update(line.encode())
    path = pathlib.Path(folder) / f"{digest.hexdigest()[:16]}.int16"
    if not _is_there(path):
        tasks = [(str(speech / name), rate, channel) for name in names]
        lengths, levels = [], []
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            for samples, level in parallel_map(
                _decode, tasks, "file", jobs, progress=progress, name="decoding"
            ):
                file.write(samples.tobytes())
                lengths.append(len(samples))
                levels.append(level)
        index = {
            "rate": rate,
            "names": list(names),
            "lengths": lengths,
            "levels": levels,
        }
        write_text(path.with_suffix(".json"), json.dumps(index))
    return SpeechStore(path)


def _is_there(path):
    """Whether a store is whole: its index is written last."""
    try:
        size = path.stat().st_size
        return size == 2 * SpeechStore(path).lengths.sum()
    except OSError:
        return False


def _decode(task):
    """The samples, at full scale whatever they were, and their level."""
    file, rate, channel = task
    if channel is None:
        samples, file_rate = read_utterance(file)
    else:
        samples, file_rate = read_audio(file, channel=channel)
    samples = resample(samples.astype(np.float64), file_rate, rate)
    samples *= 32767 / (np.abs(samples).max(initial=0) or 1.0)
    samples = np.round(samples).astype(np.int16)
    return samples, active_level(samples / 32768, rate)
