"""The part of the data doctor that reads sound: one file or mixture a time.

Worker processes run it, so it imports little. Samples are in steps of 16 bits
(full scale 32768), whatever the file has.
"""

import hashlib
import itertools
import typing

import numpy as np

from ..common.errors import UserError
from ..sound.opening import opened
from ..sound.sphere import is_sphere, read_speech, speech_info
from .report import Kind, Problem

FULL_SCALE = 32767  # in steps; -32768 is beyond it, too
SILENT = 4  # steps


class Task(typing.NamedTuple):
    """A mixture to check, or an utterance."""

    paths: tuple  # the mixture, then its sources
    rate: int | None = None  # Hz, that the folder's name promises
    noisy: bool = False  # the mixture holds more than its sources


class Check(typing.NamedTuple):
    """What is to be known of a task; None where that cannot be said."""

    problems: list
    frames: int | None = None
    rate: int | None = None  # Hz
    digest: bytes | None = None  # of the first file's samples
    levels: tuple = ()  # dB, the first source over each other one
    residue: float | None = None  # steps, largest |mixture - sum of sources|
    snr: float | None = None  # dB, the sum of sources over that residue
    stored: str = ""  # kind of file, of WSJ0


def _read_steps(path, rate):
    """Samples [T], or None if unfit, rate in Hz, and problems of a file."""
    try:
        samples, file_rate = _read(path)
    except UserError as error:
        return None, None, [reading_problem(path, error)]
    if samples.ndim > 1:
        detail = f"{samples.shape[1]} channels"
        return None, file_rate, [Problem(Kind.STEREO, path, detail)]
    kind = _unfit(samples)
    if kind in (Kind.EMPTY, Kind.NOT_FINITE):
        return None, file_rate, [Problem(kind, path)]
    problems = [Problem(kind, path)] if kind else []
    if rate is not None and file_rate != rate:
        detail = f"{file_rate} Hz, not {rate} Hz"
        problems.append(Problem(Kind.WRONG_RATE, path, detail))
    return samples, file_rate, problems


def _read(path):
    """The samples of a file in steps of 16 bits, [T] or [T, channels]."""
    if is_sphere(path):  # whatever its suffix
        info = speech_info(path)
        if info.channels > 1:
            return np.empty((0, info.channels)), info.rate
        samples, rate = read_speech(path)
        return samples * np.float32(32768), rate
    with opened(path) as file:
        whole = file.subtype == "PCM_16"
        samples = file.read(file.frames, "int16" if whole else "float32")
        if len(samples) < file.frames or file.complaint:  # a cut FLAC file
            raise UserError(f"{path} is truncated.")
        rate = file.samplerate
    return samples if whole else samples * np.float32(32768), rate


def reading_problem(path, error):
    """The problem of a file that could not be read."""
    text = str(error)
    if "no program to decode" in text:
        return Problem(Kind.NO_DECODER, path)
    truncated = "truncated" in text
    detail = "truncated" if truncated else "missing, or not sound"
    return Problem(Kind.UNREADABLE, path, detail)


def _unfit(samples):
    """The kind of problem that samples have, or None."""
    if not len(samples):
        return Kind.EMPTY
    highest, lowest = samples.max(), samples.min()
    if not np.isfinite([highest, lowest]).all():
        return Kind.NOT_FINITE
    peak = max(float(highest), -float(lowest))
    if peak < SILENT:
        return Kind.SILENT
    return Kind.CLIPPED if peak >= FULL_SCALE and is_clipped(samples) else None


def is_clipped(samples):
    """Whether three samples in a row are equal and at full scale."""
    # Not np.abs: that of -32768 is no int16.
    loud = (samples >= FULL_SCALE) | (samples <= -FULL_SCALE)
    run = loud[1:] & (samples[1:] == samples[:-1])
    return bool((run[1:] & run[:-1]).any())


def check_files(task):
    """The `Check` of a `Task`: of a mixture and its sources, each by itself
    and against the others, or of an utterance, which has none.
    """
    signals, rates, problems = [], [], []
    for path in task.paths:
        samples, rate, found = _read_steps(path, task.rate)
        signals.append(samples)
        rates.append(rate)
        problems += found
    mixture, *sources = signals
    if mixture is None:
        return Check(problems, rate=rates[0])
    digest = None  # of silence
    if mixture.any():
        digest = hashlib.blake2b(mixture.tobytes(), digest_size=8).digest()
    check = Check(problems, len(mixture), rates[0], digest)
    odd = _at_odds(task.paths, signals, rates)
    problems += odd
    if not sources or odd or any(samples is None for samples in sources):
        return check
    return _compare(check, task, mixture, sources)


def _at_odds(paths, signals, rates):
    """Problems of sources that have not their mixture's rate or length."""
    problems = []
    for path, samples, rate in zip(paths, signals, rates, strict=True):
        if rate not in (rates[0], None):
            detail = f"{rate} Hz, its mixture {rates[0]} Hz"
            problems.append(Problem(Kind.WRONG_RATE, path, detail))
        elif samples is not None and len(samples) != len(signals[0]):
            detail = f"{len(samples)} samples, not {len(signals[0])}"
            problems.append(Problem(Kind.UNEQUAL, path, detail))
    return problems


def _compare(check, task, mixture, sources):
    """Add what a mixture's sum says, for signals of one length."""
    total = sources[0].astype(np.float32)  # exact for sums of 16 bits
    for source in sources[1:]:
        total += source
    residue = mixture - total
    largest = float(np.abs(residue).max())
    powers = [_power(source) for source in sources]
    path = task.paths[0]
    if task.noisy:
        absent = not all(_holds(mixture, s) for s in sources)
        detail = "one is not in it"
    else:
        # Each file is rounded by itself: half a step for each.
        absent = largest > len(sources) / 2 + 1.5
        detail = f"up to {largest:.0f} steps of 16 bits off"
    if absent:
        check.problems.append(Problem(Kind.NOT_THE_SUM, path, detail))
    pairs = itertools.combinations(sources, 2)
    if any(np.array_equal(one, other) for one, other in pairs):
        check.problems.append(Problem(Kind.SAME_SOURCES, path))
    return check._replace(
        levels=tuple(_decibels(powers[0], power) for power in powers[1:]),
        residue=largest,
        snr=_decibels(_power(total), _power(residue)) if task.noisy else None,
    )


def _power(samples):
    samples = samples.astype(np.float32, copy=False)
    return float(samples @ samples) / len(samples)


def _decibels(power, reference):
    if not power or not reference:
        return None
    return float(10 * np.log10(power / reference))


def _holds(mixture, source):
    """Whether a source is in a mixture: about once, or about not at all.

    The other sources and the noise are hardly correlated with it, so that its
    least-squares factor in the mixture is close to 1 or to 0.
    """
    source = source.astype(np.float32, copy=False)
    energy = float(source @ source)
    return not energy or float(source @ mixture) > 0.5 * energy
