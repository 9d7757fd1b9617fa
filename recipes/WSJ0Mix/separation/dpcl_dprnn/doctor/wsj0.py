"""The part of the data doctor that looks at WSJ0 as the LDC ships it."""

import collections
import math
import typing

import numpy as np

from ..common.audio import resample
from ..common.errors import UserError
from ..common.parallel import parallel_map
from ..mixtures.wsj0 import KINDS, find_files
from ..mixtures.wsj0_tables import read_levels
from ..speech.levels import LEVEL_RATE, active_level
from ..speech.sphere import find_decoder, read_speech, speech_info
from .facts import hours_of, sample
from .files import reading_problem
from .report import Kind, Problem, Report, folder_problem

OFFICIAL = {"si_tr_s": 12776, "si_dt_05": 1206, "si_et_05": 651}
SAMPLE = 100  # utterances of each folder that a quick check reads
FEW = 200  # read before another process has even started
ALMOST = 0.9  # of the published number: more may be an unfinished copy
TOLERANCE = 3.0  # dB
TABLE = "  {:9} {:>10} {:>9} {:>8} {:>6}  {}"


class Task(typing.NamedTuple):
    """An utterance to check."""

    files: dict  # by suffix
    level: float | None  # published
    headers: bool  # whether to read no more than the header


class UtteranceCheck(typing.NamedTuple):
    """What is to be known of an utterance."""

    problems: list
    kind: str = ""  # how it is stored
    seconds: float | None = None


def examine_wsj0(wsj0, levels=None, quick=False, jobs=None, progress=True):
    """Check a tree of WSJ0.

    Arguments
    ---------
    wsj0 : str or Path
        Any folder above or at `si_tr_s`, `si_dt_05`, `si_et_05`.
    levels : str or Path, optional
        Folder with MERL's table of active levels; utterances are compared
        with it.
    quick : bool
        Whether to read only some utterances of each folder.
    jobs : int, optional
        Processes; as many as there are cores by default.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Report or None
        None if there is no utterance of WSJ0.
    """
    unreadable = []
    utterances = list_utterances(wsj0, unreadable.append)
    if not utterances:
        return None
    report = Report("WSJ0")
    report.problems += map(folder_problem, unreadable)
    if quick:
        report.notes.append(
            f"quick: up to {SAMPLE} utterances a folder were read whole"
        )
    tasks = _tasks(utterances, read_levels(levels) if levels else {}, quick)
    jobs = 1 if len(tasks) < FEW else jobs
    checks = parallel_map(
        check_utterance,
        [*tasks.values()],
        "utterance",
        jobs,
        progress=progress,
        name="checking",
    )
    checks = dict(zip(tasks, checks, strict=True))
    report.facts.append(
        TABLE.format(
            *("folder", "utterances", "published", "speakers", "hours"),
            "stored as",
        )
    )
    for folder, published in OFFICIAL.items():
        found = {k: c for k, c in checks.items() if k.startswith(f"{folder}/")}
        report.facts.append(_fact(folder, published, found))
        _compare_count(folder, published, len(found), report)
    report.problems += [p for c in checks.values() for p in c.problems]
    return report


def list_utterances(wsj0, on_error):
    """Find the utterances and all files of each.

    Arguments
    ---------
    wsj0 : str or Path
        The folder.
    on_error : callable
        See `files.walk`.

    Returns
    -------
    dict
        `{"si_tr_s/40n/40na010x": {"wv1": path, "wav": path}, ...}`, sorted.
    """
    found = find_files(wsj0, on_error=on_error)
    return {
        key: found[key]
        for key in sorted(found)
        if key.split("/")[0] in OFFICIAL
    }


def _tasks(utterances, levels, quick):
    """What to do about each utterance."""
    tasks = {}
    for folder in OFFICIAL:
        keys = [key for key in utterances if key.startswith(f"{folder}/")]
        whole = set(sample(keys, SAMPLE) if quick else keys)
        for key in keys:
            level = levels.get(key.rpartition("/")[2])
            tasks[key] = Task(utterances[key], level, key not in whole)
    return tasks


def check_utterance(task):
    """Check the files of an utterance.

    Arguments
    ---------
    task : Task

    Returns
    -------
    UtteranceCheck
    """
    kinds = [kind for kind in KINDS if kind in task.files]
    if not kinds:
        return UtteranceCheck([Problem(Kind.ONLY_WV2, task.files["wv2"])])
    path = task.files[kinds[0]]  # the one that is used
    try:
        info = speech_info(path)
        check = UtteranceCheck(
            [], f"{kinds[0]} {info.subtype}", info.frames / info.rate
        )
        if info.subtype == "SHORTEN" and find_decoder() is None:
            return check._replace(problems=[Problem(Kind.NO_DECODER, path)])
        if task.headers:
            return check
        samples, rate = read_speech(path)
    except UserError as error:
        return UtteranceCheck([reading_problem(path, error)])
    problems = _of_second_microphone(task.files)
    if not samples.any():
        problems.append(Problem(Kind.SILENT, path))
    elif task.level:
        level = active_level(resample(samples, rate, LEVEL_RATE), LEVEL_RATE)
        off = 10 * math.log10(level / task.level)
        if abs(off) > TOLERANCE:
            problems.append(Problem(Kind.WRONG_LEVEL, path, f"{off:+.1f} dB"))
    return check._replace(problems=problems)


def _of_second_microphone(files):
    """The problem of a .wav with the samples of the .wv2 beside it."""
    if not {"wav", "wv2"} <= files.keys():
        return []
    try:
        signals = {
            kind: read_speech(path)[0]
            for kind, path in files.items()
            if kind in ("wav", "wv1", "wv2")
        }
    except UserError:
        return []
    if _same(signals["wav"], signals["wv2"]) and not (
        "wv1" in signals and _same(signals["wav"], signals["wv1"])
    ):
        return [Problem(Kind.WAV_OF_WV2, files["wav"])]
    return []


def _same(one, other):
    """Whether two signals are equal, but for rounding."""
    length = min(len(one), len(other))
    same = np.abs(one[:length] - other[:length]) < 1.5 / 32768
    # Sound from disc is at times padded to whole blocks.
    return bool(same.all()) and abs(len(one) - len(other)) < 1024


def _fact(folder, published, checks):
    """The line of the page about one folder."""
    seconds = [c.seconds for c in checks.values() if c.seconds is not None]
    kinds = collections.Counter(c.kind for c in checks.values() if c.kind)
    return TABLE.format(
        *(folder, f"{len(checks):,}", f"{published:,}"),
        len({key.split("/")[1] for key in checks}),
        hours_of(seconds, len(seconds), digits=1),
        ", ".join(f"{kind}: {n:,}" for kind, n in kinds.most_common(4)),
    )


def _compare_count(folder, published, count, report):
    """Note or report a folder that is not as large as published."""
    detail = f"{count:,} of {published:,} utterances"
    if ALMOST * published <= count < published:
        report.problems.append(Problem(Kind.INCOMPLETE, folder, detail))
    elif count < published:
        report.notes.append(f"{folder} has {detail}")
