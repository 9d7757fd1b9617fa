"""Writes mixtures as sound files, in the layout of wsj0-mix.

A split appears when it is whole. A run that was killed goes on where it
stopped.
"""

import concurrent.futures
import functools
import hashlib
import math
import os
import shutil

import numpy as np
import tqdm

from ..common.errors import UserError, writing_error
from ..common.parallel import parallel_map
from ..sound.audio import check_format, resample, write_wav
from ..sound.ffmpeg import require_decoder
from ..sound.rumble import without_rumble
from ..sound.sphere import speech_info
from ..speech.levels import LEVEL_RATE, active_level
from ..speech.speakers import read_utterance
from .places import kinds_of, list_places

PEAK = 0.9  # of the loudest of a mixture and its sources
PIECE = 4096  # bytes of a file that stand for all of it


def mix_sources(sources, levels, gains_db, mode="min"):
    """Mix utterances by the rule of wsj0-mix.

    Each source is brought to an active level of 1, then to its gain; all are
    cut or padded to one length and scaled together, so that the largest peak
    of the mixture and the sources is 0.9. Each is then rounded to 16 bits on
    its own, as the MATLAB scripts of wsj0-mix do; hence the sources sum to
    the mixture within half a step for each of them and one for the mixture.

    Arguments
    ---------
    sources : list of numpy.ndarray, [T] each
        Utterances of any lengths, none silent.
    levels, gains_db : list
        The active level of each, see `levels.active_level`, and the one that
        it is to have, in dB.
    mode : str
        `min` cuts all to the shortest, `max` pads with zeros to the longest.

    Returns
    -------
    mixture, sources : numpy.ndarray, [T] and [C, T]
        int16.

    Example
    -------
    >>> noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> mixture, sources = mix_sources(list(noise), [1.0, 1.0], [2.0, -2.0])
    >>> int(np.abs(mixture).max())
    29491
    >>> int(np.abs(mixture - sources.sum(axis=0)).max())
    1
    """
    lengths = [len(source) for source in sources]
    length = min(lengths) if mode == "min" else max(lengths)
    scaled = np.zeros((len(sources), length))
    for row, source, level, gain in zip(
        scaled, sources, levels, gains_db, strict=True
    ):
        factor = 10 ** (gain / 20) / math.sqrt(level)
        row[: len(source)] = source[:length] * factor
    mixture = scaled.sum(axis=0)
    peak = max(np.abs(scaled).max(), np.abs(mixture).max())
    # A peak of 0: every source begins with a pause longer than the cut.
    factor = PEAK * 32768 / (peak or 1.0)
    mixture, scaled = (
        np.round(x * factor).astype(np.int16) for x in (mixture, scaled)
    )
    return mixture, scaled


def render(target, mixtures, rates, modes, jobs=None, rumble=True):
    """Write mixtures, `{split: {name: [places.Source, ...]}}`, and their
    sources, at each rate (Hz) and in each mode, as
    `TARGET/wav8k/min/SPLIT/KIND/NAME.wav`; utterances as they are, or without
    the `rumble` of their files. Return False where everything was there
    already, made of the same.

    Raises
    ------
    UserError
        When an utterance cannot be read or is silent, a program to read it
        is missing, a folder is there that was made otherwise, or the disk is
        full or cannot be written.
    """
    rates, modes = dict.fromkeys(rates), dict.fromkeys(modes)
    for cache in (_load, _level):  # a file may have changed since
        cache.cache_clear()
    # An error in any file shows before the work.
    sources = (s for split in mixtures.values() for s in split.values())
    files = sorted({source.file for each in sources for source in each})
    # Threads: the time goes in waiting for the disk.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        bar = tqdm.tqdm(
            pool.map(_read_header, files),
            "reading headers",
            len(files),
            unit="file",
            disable=None,
        )
        headers = dict(zip(files, bar, strict=True))
    digests = {file: digest for file, (digest, _) in headers.items()}
    scratch = target / ".decoded-unfinished"
    try:
        places = [
            place
            for split, each in mixtures.items()
            for place in list_places(target, split, each, digests, rates, modes)
            if not place.is_whole()
        ]
        if places:
            _write_all(places, headers, scratch, jobs, rumble)
        # A run may have been killed right before this.
        shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise writing_error(target, error) from error
    return bool(places)


def _read_header(file):
    """A digest of an utterance, and whether it takes a program to read it. The
    digest is of the size of the file and the middle of what it holds, not of
    its time stamp: a copy of the speech is the same speech.
    """
    info = speech_info(file)
    check_format(file, info.channels, info.rate)
    try:
        with open(file, "rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            opened.seek(max(0, (size - PIECE) // 2))
            piece = opened.read(PIECE)
    except OSError as error:
        raise UserError(
            f"Cannot read {file}: {error.strerror}. Replace or remove the file."
        ) from error
    digest = hashlib.sha256(b"%d " % size + piece).hexdigest()
    return digest, info.subtype == "SHORTEN"


def _write_all(places, headers, scratch, jobs, rumble):
    """Write what the places lack; then all of them show."""
    used = {
        s.file for p in places for each in p.mixtures.values() for s in each
    }
    decoded = {
        file: scratch / f"{digest}.wav"
        for file, (digest, is_compressed) in headers.items()
        if file in used and is_compressed
    }
    if decoded:
        require_decoder(next(iter(decoded)))
    for place in places:
        place.start()
    # Once: starting a decoder takes longer than mixing, and several mixtures
    # have the same utterance.
    missing = [each for each in decoded.items() if not each[1].exists()]
    if missing:
        list(parallel_map(_decode, missing, "file", jobs, name="decoding"))
    list(
        parallel_map(
            _render_task, _tasks(places, decoded, rumble), "mixture", jobs
        )
    )
    for place in places:
        place.finish()


def _decode(task):
    file, decoded = task
    write_wav(decoded, *read_utterance(file))


def _tasks(places, decoded, rumble):
    """The work, (name, sources, rumble, places as (folder, rate, mode)) each, with
    mixtures of the same utterance one after the other.
    """
    tasks = {}
    for place in places:
        for name in place.lacking(place.partial):
            sources = [
                source._replace(file=decoded.get(source.file, source.file))
                for source in place.mixtures[name]
            ]
            task = name, sources, rumble, []
            *_, where = tasks.setdefault((place.folder.name, name), task)
            where.append((place.partial, place.rate, place.mode))
    return sorted(tasks.values(), key=lambda task: str(task[1][0].file))


def _render_task(task):
    """Write a mixture and its sources wherever they are not yet."""
    name, sources, rumble, places = task
    for folder, rate, mode in places:
        mixture, signals = mix_sources(
            [_load(source.file, rate, rumble) for source in sources],
            [source.level or _level(source.file, rumble) for source in sources],
            [source.gain_db for source in sources],
            mode,
        )
        signals = [*signals, mixture]
        for kind, samples in zip(kinds_of(sources), signals, strict=True):
            write_wav(folder / kind / f"{name}.wav", samples, rate)


# A few utterances, as neighbouring tasks share one: memory stays flat.
@functools.lru_cache(maxsize=16)
def _load(file, rate, rumble):
    """An utterance at the wanted rate."""
    samples, file_rate = read_utterance(file)
    samples = resample(samples, file_rate, rate)
    return samples if rumble else without_rumble(samples, rate)


@functools.cache
def _level(file, rumble):
    return active_level(_load(file, LEVEL_RATE, rumble), LEVEL_RATE)
