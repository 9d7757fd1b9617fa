"""Speech decoded once, in a file that all processes map into memory."""

import hashlib
import json
import logging
import os
import pathlib

import numpy as np

from ..common.errors import UserError
from ..common.files import atomic_path, write_text
from ..common.parallel import parallel_map
from ..sound.audio import read_audio, resample
from ..sound.rumble import without_rumble
from .levels import active_level
from .speakers import read_utterance

logger = logging.getLogger(__name__)

FORMAT = 2  # of the files; another number makes all stores anew


class SpeechStore:
    """Utterances at one sampling rate, to read any piece of at once.

    Made by `open_store`. The samples stay on the disk, and in memory only as
    long as the system has some to spare, once for all processes. `path` is the
    file of samples, int16; its index lies beside it.
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
        """A piece of an utterance, from the sample `start`: so many samples,
        or by default all that follow, [T], float32, full scale at 1.0.
        """
        if self._samples is None:
            self._samples = np.memmap(self.path, np.int16, mode="r")
        first = self.starts[index] + start
        end = self.starts[index] + self.lengths[index]
        if length is not None:
            end = min(end, first + length)
        return self._samples[first:end] * np.float32(1 / 32768)


class JoinedStores:
    """Several stores of one rate as one, their utterances in order."""

    def __init__(self, stores):
        self.stores = list(stores)
        self.rate = stores[0].rate
        self.names = [name for store in stores for name in store.names]
        self.lengths = np.concatenate([store.lengths for store in stores])
        self.levels = np.concatenate([store.levels for store in stores])
        self.starts = np.cumsum([0, *map(len, stores)])  # of each, and the end

    def __len__(self):
        return len(self.names)

    def read(self, index, start=0, length=None):
        """A piece of an utterance, see `SpeechStore.read`."""
        number = int(np.searchsorted(self.starts, index, side="right")) - 1
        store = self.stores[number]
        return store.read(index - self.starts[number], start, length)


def open_store(
    speech, names, rate, folder, channel=None, rumble=False, jobs=None
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
    rumble : bool
        Whether to keep what is below speech, as of impulse responses.
    jobs : int, optional
        Processes; as many as there are cores by default.

    Returns
    -------
    SpeechStore

    Raises
    ------
    UserError
        When an utterance cannot be read or is silent, or the disk is full.
    """
    speech = pathlib.Path(os.path.abspath(speech))
    key = f"{FORMAT} {speech} {rate} {channel} {rumble}\n"
    digest = hashlib.sha256(os.fsencode(key))
    for name in names:
        try:
            stat = os.stat(speech / name)
        except OSError as error:
            raise UserError(
                f"Cannot read {speech / name}: {error.strerror}. Replace or "
                "remove the file."
            ) from error
        stamp = f"{name} {stat.st_size} {stat.st_mtime_ns}\n"
        digest.update(os.fsencode(stamp))
    path = pathlib.Path(folder) / f"{digest.hexdigest()[:16]}.int16"
    try:
        store = SpeechStore(path)  # its index is written last
        if path.stat().st_size == 2 * store.lengths.sum():
            return store
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or not whole
    tasks = [(str(speech / name), rate, channel, rumble) for name in names]
    work = parallel_map(_decode, tasks, "file", jobs, name="decoding")
    _write_store(path, rate, names, work)
    return SpeechStore(path)


def _write_store(path, rate, names, decoded):
    lengths, levels, low = [], [], None
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        for name, one in zip(names, decoded, strict=True):
            samples, level, file_rate = one
            file.write(samples.tobytes())
            lengths.append(len(samples))
            levels.append(level)
            if file_rate < rate:
                low = low or f"{name} has {file_rate} Hz"
        file.flush()
        os.fsync(file.fileno())  # before there is an index that vouches for it
    if low:
        logger.warning(
            "%s, below the %s Hz that are wanted: such files have no sound in "
            "the upper part of the spectrum.",
            *(low, rate),
        )
    index = {"rate": rate, "names": names, "lengths": lengths, "levels": levels}
    write_text(path.with_suffix(".json"), json.dumps(index))


def _decode(task):
    """The samples, at full scale whatever they were, their level and the
    file's rate.
    """
    file, rate, channel, rumble = task
    if channel is None:
        samples, file_rate = read_utterance(file)
    else:
        samples, file_rate = read_audio(file, channel=channel)
        if not len(samples):
            raise UserError(f"{file} is empty. Replace or remove the file.")
    samples = resample(samples.astype(np.float64), file_rate, rate)
    if not rumble:
        samples = without_rumble(samples, rate)
    samples *= 32767 / (np.abs(samples).max() or 1.0)
    samples = np.round(samples).astype(np.int16)
    return samples, active_level(samples / 32768, rate), file_rate
