"""Writes mixtures as sound files, in the layout of wsj0-mix.

A split appears when it is whole. A run that was killed goes on where it
stopped.
"""

import concurrent.futures
import functools
import shutil
import typing

import numpy as np
import tqdm

from .audio import check_format, read_audio, resample, write_wav
from .decoding import decode_all
from .errors import UserError
from .levels import active_level
from .mixing import mix_sources
from .parallel import parallel_map
from .places import list_places
from .speakers import read_utterance
from .sphere import speech_info

LEVEL_RATE = 8000  # Hz; levels are measured here, whatever the output's rate
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
        When an utterance cannot be read or is silent, a folder is there
        that was made otherwise, or the disk is full or cannot be written.
    """
    rates, modes = dict.fromkeys(rates), dict.fromkeys(modes)
    for cache in (_read, _load, _level):  # a file may have changed since
        cache.cache_clear()
    try:
        places = [
            place
            for split, each in mixtures.items()
            for place in list_places(target, split, each, rates, modes)
            if not place.is_there()
        ]
        if not places:
            return False
        # An error in any file shows before the work.
        infos = _read_headers(mixtures, progress)
        compressed = [f for f in infos if infos[f].subtype == "SHORTEN"]
        scratch = target / ".decoded-unfinished"
        _check_space(places, mixtures, infos, compressed, scratch)
        for place in places:
            place.start()
        decoded = decode_all(compressed, scratch, jobs, progress)
        tasks = _tasks(places, mixtures, decoded)
        work = parallel_map(
            _render_task, tasks, "mixture", jobs, progress=progress
        )
        for _ in work:
            pass
        for place in places:
            place.finish()
        shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"Cannot write {target}: {error.strerror or error}. "
            "Free some space or choose another folder."
        ) from error
    return True


def _read_headers(mixtures, progress):
    """What the headers of the utterances say, by file."""
    mixed = [s for each in mixtures.values() for s in each.values()]
    files = sorted({source.file for sources in mixed for source in sources})
    # Threads: the time goes in waiting for the disk.
    pool = concurrent.futures.ThreadPoolExecutor()
    try:
        infos = pool.map(_read_header, files)
        bar = tqdm.tqdm(
            infos,
            "reading headers",
            len(files),
            unit="file",
            disable=not progress,
        )
        return dict(zip(files, bar, strict=True))
    finally:
        pool.shutdown(cancel_futures=True)


def _read_header(file):
    info = speech_info(file)
    check_format(file, info.channels, info.rate)
    return info


def _check_space(places, mixtures, infos, compressed, scratch):
    """Refuse a disk that is too small before it is full."""
    needed = sum(_on_disk(2 * infos[f].frames + 44) for f in compressed)
    there = _in_files(scratch.glob("*"))
    for place in places:
        shortest = min if place.mode == "min" else max
        for sources in mixtures[place.split].values():
            seconds = shortest(
                infos[s.file].frames / infos[s.file].rate for s in sources
            )
            size = 2 * round(seconds * place.rate) + 44
            needed += (len(sources) + 1) * _on_disk(size)
        there += _in_files(place.partial.glob("*/*"))
    disk = places[0].target
    while not disk.exists():
        disk = disk.parent
    free = shutil.disk_usage(disk).free
    if needed - there > free:
        raise UserError(
            f"{disk} has {free / 1e9:.1f} GB free, but the mixtures take "
            f"{(needed - there) / 1e9:.1f} GB more. Free some space or choose "
            "another --out."
        )


def _on_disk(size):
    return -(-size // BLOCK) * BLOCK


def _in_files(paths):
    return sum(_on_disk(path.stat().st_size) for path in paths)


def _tasks(places, mixtures, decoded):
    """The work, with mixtures of the same utterance one after the other."""
    tasks = []
    for split, each in mixtures.items():
        folders = tuple(
            (place.partial, place.rate, place.mode)
            for place in places
            if place.split == split
        )
        if folders:
            for name, sources in each.items():
                sources = tuple(
                    source._replace(file=decoded.get(source.file, source.file))
                    for source in sources
                )
                tasks.append(Task(name, sources, folders))
    return sorted(tasks, key=lambda task: task.sources[0].file)


def _render_task(task):
    """Write a mixture and its sources wherever they are not yet."""
    count = len(task.sources)
    for folder, rate, mode in task.places:
        kinds = [f"s{n}" for n in range(1, count + 1)] + ["mix"]
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
