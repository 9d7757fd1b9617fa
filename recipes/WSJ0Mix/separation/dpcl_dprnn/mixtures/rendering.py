"""Writes mixtures as sound files, in the layout of wsj0-mix.

A split appears when it is whole. A run that was killed goes on where it
stopped.
"""

import functools
import shutil
import typing

import numpy as np

from ..common.audio import read_audio, resample, write_wav
from ..common.errors import UserError, writing_error
from ..common.parallel import parallel_map
from ..speech.levels import LEVEL_RATE, active_level
from ..speech.speakers import read_utterance
from ..speech.sphere import require_decoder
from .decoding import decode_all
from .headers import read_headers
from .mixing import mix_sources
from .places import kinds_of, list_places

PEAK = round(0.9 * 32768)  # of what mixing.mix_sources makes
BLOCK = 4096  # bytes; what files take on disk is a multiple of it


class Source(typing.NamedTuple):
    """What one speaker says in a mixture."""

    name: str  # of the utterance, as in a list of mixtures
    file: str
    gain_db: float
    level: float | None = None  # active level where it is known


class Task(typing.NamedTuple):
    """A mixture to write."""

    name: str
    sources: tuple  # of Source
    places: tuple  # of (folder, rate, mode)


def render(target, mixtures, rates, modes, jobs=None, progress=True):
    """Write `TARGET/wav8k/min/SPLIT/{mix,s1,s2,...}/NAME.wav`.

    Arguments
    ---------
    target : pathlib.Path
        The data set's folder.
    mixtures : dict
        `{split: {name: [Source, ...]}}`.
    rates : list of int
        Sampling rates to write, in Hz.
    modes : list of str
        `min` and `max`, see `mixing.mix_sources`.
    jobs : int, optional
        Processes; as many as there are cores by default.
    progress : bool
        Whether to show progress bars.

    Returns
    -------
    bool
        False where everything was there already, made of the same.

    Raises
    ------
    UserError
        When an utterance cannot be read or is silent, a program to read it
        is missing, a folder is there that was made otherwise, or the disk is
        full or cannot be written.
    """
    rates, modes = dict.fromkeys(rates), dict.fromkeys(modes)
    for cache in (_read, _load, _level):  # a file may have changed since
        cache.cache_clear()
    mixed = [s for each in mixtures.values() for s in each.values()]
    # An error in any file shows before the work.
    headers = read_headers((s.file for each in mixed for s in each), progress)
    scratch = target / ".decoded-unfinished"
    try:
        places = [
            place
            for split, each in mixtures.items()
            for place in list_places(target, split, each, headers, rates, modes)
            if not place.is_whole()
        ]
        if places:
            _write_all(places, headers, scratch, jobs, progress)
        # A run may have been killed right before this.
        shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise writing_error(target, error) from error
    return bool(places)


def _write_all(places, headers, scratch, jobs, progress):
    """Write what the places lack; then all of them show."""
    used = {
        s.file for p in places for each in p.mixtures.values() for s in each
    }
    compressed = [f for f in headers if f in used and headers[f].is_compressed]
    if compressed:
        require_decoder(compressed[0])
    _check_space(places, headers, compressed, scratch)
    for place in places:
        place.start()
    decoded = decode_all(compressed, scratch, jobs, progress)
    tasks = _tasks(places, decoded)
    for _ in parallel_map(
        _render_task, tasks, "mixture", jobs, progress=progress
    ):
        pass
    for place in places:
        place.finish()


def _check_space(places, headers, compressed, scratch):
    """Refuse a disk that is too small before it is full."""
    needed = sum(_on_disk(2 * headers[f].info.frames + 44) for f in compressed)
    there = _in_files(scratch.glob("*"))
    for place in places:
        shortest = min if place.mode == "min" else max
        for sources in place.mixtures.values():
            seconds = shortest(headers[s.file].seconds for s in sources)
            size = 2 * round(seconds * place.rate) + 44
            needed += (len(sources) + 1) * _on_disk(size)
        there += _in_files(place.begun.glob("*/*"))
    disk = places[0].target
    while not disk.exists():
        disk = disk.parent
    free = shutil.disk_usage(disk).free
    if needed - there > free:
        raise UserError(
            f"{disk} has {_bytes(free)} free, but the mixtures take "
            f"{_bytes(needed - there)} more. Free some space or choose "
            "another --out."
        )


def _bytes(count):
    """As text, `1.5 GB` or `1.5 MB`."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB"


def _on_disk(size):
    return -(-size // BLOCK) * BLOCK


def _in_files(paths):
    return sum(_on_disk(path.stat().st_size) for path in paths)


def _tasks(places, decoded):
    """The work, with mixtures of the same utterance one after the other."""
    tasks = []
    for split in dict.fromkeys(place.split for place in places):
        here = [place for place in places if place.split == split]
        folders = tuple((p.partial, p.rate, p.mode) for p in here)
        for name, sources in here[0].mixtures.items():
            sources = tuple(
                source._replace(file=decoded.get(source.file, source.file))
                for source in sources
            )
            tasks.append(Task(name, sources, folders))
    return sorted(tasks, key=lambda task: task.sources[0].file)


def _render_task(task):
    """Write a mixture and its sources wherever they are not yet."""
    for folder, rate, mode in task.places:
        kinds = kinds_of(task.sources)
        paths = [folder / kind / f"{task.name}.wav" for kind in kinds]
        if _is_whole(paths, rate):
            continue
        loaded = [_load(s.file, rate) for s in task.sources]
        levels = [s.level or _level(s.file) for s in task.sources]
        gains = [s.gain_db for s in task.sources]
        mixture, sources = mix_sources(loaded, levels, gains, mode)
        for path, samples in zip(paths, [*sources, mixture], strict=True):
            write_wav(path, samples, rate)


def _is_whole(paths, rate):
    """Whether a mixture is there: the last path, the sum of the others.

    A crash of the computer may leave zeros; they have no peak.
    """
    if not paths[-1].exists():
        return False
    try:
        *sources, mixture = (read_audio(path, rate)[0] for path in paths)
    except UserError:
        return False
    if any(len(source) != len(mixture) for source in sources):
        return False
    error = np.abs(mixture - sum(sources)).max(initial=0) * 32768
    peak = max(np.abs(x).max(initial=0) for x in (mixture, *sources)) * 32768
    return error <= (len(sources) + 1) / 2 and peak == PEAK


# A few utterances, as neighbouring tasks share one: memory stays flat.
@functools.lru_cache(maxsize=16)
def _load(file, rate):
    """An utterance at the wanted rate."""
    samples, file_rate = _read(file)
    return resample(samples, file_rate, rate)


_read = functools.lru_cache(maxsize=16)(read_utterance)


@functools.cache
def _level(file):
    return active_level(_load(file, LEVEL_RATE), LEVEL_RATE)
