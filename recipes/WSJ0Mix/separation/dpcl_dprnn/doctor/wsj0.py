"""The part of the data doctor that looks at WSJ0 as the LDC ships it."""

import collections
import math

import numpy as np

from ..common.errors import UserError
from ..mixtures.wsj0 import KINDS, find_files, read_levels
from ..sound.audio import resample
from ..sound.ffmpeg import find_decoder
from ..sound.sphere import read_speech, speech_info
from ..speech.levels import LEVEL_RATE, active_level
from .examiner import is_unfinished
from .files import Check, reading_problem
from .report import Kind, Problem, Report

OFFICIAL = {"si_tr_s": 12776, "si_dt_05": 1206, "si_et_05": 651}
SAMPLE = 100  # utterances of each folder that a quick check reads
TOLERANCE = 3.0  # dB
TABLE = "  {:9} {:>10} {:>9} {:>8} {:>6}  {}"
HEADER = TABLE.format(
    "folder", "utterances", "published", "speakers", "hours", "stored as"
)


def examine_wsj0(wsj0, levels, reader):
    """The `Report` of a tree of WSJ0, whose utterances are compared with
    MERL's active levels in a folder `levels`, if given; None if there is no
    utterance of it.
    """
    report = Report("WSJ0")
    found = find_files(wsj0, on_error=report.add_folder)
    folders = {folder: {} for folder in OFFICIAL}
    for key in sorted(found):
        folders.get(key.split("/")[0], {})[key] = found[key]
    if not any(folders.values()):
        return None
    if reader.quick:
        report.notes.append(
            f"quick: up to {SAMPLE} utterances a folder were read whole"
        )
    levels = read_levels(levels) if levels else {}
    tasks = {}
    for utterances in folders.values():
        whole = set(reader.choose([*utterances], SAMPLE))
        for key, files in utterances.items():
            published = levels.get(key.rpartition("/")[2])  # level
            tasks[key] = files, published, key not in whole
    checks = reader.read(_check_utterance, tasks, report, "utterance")
    report.facts.append(HEADER)
    for folder, utterances in folders.items():
        here = {key: checks[key] for key in utterances}
        _tell(folder, OFFICIAL[folder], here, report)
    return report


def _tell(folder, published, checks, report):
    """Add the line of the page about one folder, and what it lacks."""
    count = len(checks)
    seconds = [c.frames / c.rate for c in checks.values() if c.rate]
    stored = collections.Counter(c.stored for c in checks.values() if c.stored)
    report.facts.append(
        TABLE.format(
            *(folder, f"{count:,}", f"{published:,}"),
            len({key.split("/")[1] for key in checks}),
            f"{sum(seconds) / 3600:.1f}" if seconds else "?",
            ", ".join(f"{kind}: {n:,}" for kind, n in stored.most_common(4)),
        )
    )
    detail = f"{count:,} of {published:,} utterances"
    if is_unfinished(count, published):
        report.add(Kind.INCOMPLETE, folder, detail)
    elif count < published:
        report.notes.append(f"{folder} has {detail}")


def _check_utterance(task):
    """The `Check` of the files of an utterance."""
    files, published, headers = task
    kinds = [kind for kind in KINDS if kind in files]
    if not kinds:
        return Check([Problem(Kind.ONLY_WV2, files["wv2"])])
    path = files[kinds[0]]  # the one that is used
    try:
        info = speech_info(path)
        stored = f"{kinds[0]} {info.subtype}"
        check = Check([], info.frames, info.rate, stored=stored)
        if info.subtype == "SHORTEN" and find_decoder() is None:
            return check._replace(problems=[Problem(Kind.NO_DECODER, path)])
        if headers:
            return check
        samples, rate = read_speech(path)
    except UserError as error:
        return Check([reading_problem(path, error)])
    problems = _of_second_microphone(files)
    if not samples.any():
        problems.append(Problem(Kind.SILENT, path))
    elif published:
        level = active_level(resample(samples, rate, LEVEL_RATE), LEVEL_RATE)
        off = 10 * math.log10(level / published)
        if abs(off) > TOLERANCE:
            problems.append(Problem(Kind.WRONG_LEVEL, path, f"{off:+.1f} dB"))
    return check._replace(problems=problems)


def _of_second_microphone(files):
    """The problem of a .wav with the samples of the .wv2 beside it."""
    if not {"wav", "wv2"} <= files.keys():
        return []
    try:
        kinds = files.keys() & {"wav", "wv1", "wv2"}
        signals = {kind: read_speech(files[kind])[0] for kind in kinds}
    except UserError:
        return []
    same = {kind for kind in kinds if _same(signals["wav"], signals[kind])}
    if same == {"wav", "wv2"}:  # not of .wv1, too
        return [Problem(Kind.WAV_OF_WV2, files["wav"])]
    return []


def _same(one, other):
    """Whether two signals are equal, but for rounding."""
    length = min(len(one), len(other))
    same = np.abs(one[:length] - other[:length]) < 1.5 / 32768
    # Sound from disc is at times padded to whole blocks.
    return bool(same.all()) and abs(len(one) - len(other)) < 1024
