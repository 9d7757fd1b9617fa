"""The part of the data doctor that looks at folders of speakers."""

import collections
import itertools
import os
import pathlib

from ..common.errors import few
from ..speech.speakers import (
    SHORTEST,
    SPLIT_FOLDERS,
    folders_below,
    in_words,
    list_speech,
    refuse_mixtures,
    split_folders,
)
from .examiner import repeats, times_of
from .files import Task, check_files
from .report import Kind, Report

SAMPLE = 200  # utterances of each split that a quick check reads
TABLE = "  {:5} {:>8} {:>10} {:>6}  {:14} {}"
HEADER = TABLE.format(
    "split", "speakers", "utterances", "hours", "length in s", "rate"
)


def examine_speech(speech, reader, level=0):
    """The `Report` of a folder of speakers, see `speakers.find_speakers`; None
    if no folder in it has sound files.
    """
    report = Report("speech, a folder for each speaker")
    splits, loose, passed = _list_speech(speech, level, report.add_folder)
    if not any(splits.values()):
        return None
    if reader.quick:
        report.notes.append(
            f"quick: up to {SAMPLE} utterances a split were read; hours are "
            "estimates"
        )
    if loose:
        report.notes.append(
            f"{len(loose):,} files in no speaker's folder are passed over"
        )
    if passed:
        report.notes.append(f"other files are passed over: {in_words(passed)}")
    for speakers in splits.values():
        for paths in speakers.values():
            refuse_mixtures([pathlib.Path(path) for path in paths])
        relative = {
            name: [os.path.relpath(path, speech) for path in paths]
            for name, paths in speakers.items()
        }
        if doubt := folders_below(speech, relative):
            report.notes.append(doubt)
    chosen = {
        split: reader.choose([*itertools.chain(*speakers.values())], SAMPLE)
        for split, speakers in splits.items()
    }
    tasks = {path: Task((path,)) for each in chosen.values() for path in each}
    checks = reader.read(check_files, tasks, report, "utterance")
    report.facts.append(HEADER)
    for split, speakers in splits.items():
        found = [checks[path] for path in chosen[split]]
        report.facts.append(_fact(split, speakers, found))
    _note_short(checks, report)
    _find_copies(splits, checks, report)
    _find_faults(speech, splits, report)
    return report


def _list_speech(speech, level, on_error):
    """`{split: {speaker: [path, ...]}}`, the files of no speaker, and how many
    are no speech by suffix.

    The only split of a flat folder is `all`.
    """
    folders = {
        SPLIT_FOLDERS[split][0]: each
        for split, each in split_folders(speech).items()
        if each
    }
    splits, loose, passed = {}, [], collections.Counter()
    for split, each in (folders or {"all": [speech]}).items():
        speakers = splits.setdefault(split, {})
        for folder in each:
            paths, others = list_speech(folder, on_error)
            passed += others
            for path in paths:
                *above, _ = path.relative_to(folder).parts
                if len(above) > level:
                    speakers.setdefault(above[level], []).append(str(path))
                else:
                    loose.append(path)
    return splits, loose, passed


def _fact(split, speakers, checks):
    """The line of the page about one split."""
    count = sum(map(len, speakers.values()))
    rates = sorted({check.rate for check in checks if check.rate})
    rates = " and ".join(f"{rate} Hz" for rate in rates) or "?"
    return TABLE.format(
        *(split, f"{len(speakers):,}", f"{count:,}"),
        *(*times_of(checks, count), rates),
    )


def _note_short(checks, report):
    """Note the utterances that are too short to be mixed."""
    short = [
        os.path.basename(path)
        for path, check in checks.items()
        if check.frames and check.frames < SHORTEST * check.rate
    ]
    if short:
        report.notes.append(
            f"{len(short):,} utterances under {SHORTEST} s are passed over "
            f"({few(short)})"
        )


def _find_copies(splits, checks, report):
    """Report utterances that come twice: of one speaker, or of two."""
    keyed = (
        ((f"{split}/{speaker}", path), [checks[path].digest])
        for split, speakers in splits.items()
        for speaker, paths in speakers.items()
        for path in paths
        if path in checks and checks[path].digest
    )
    for (owner, path), (other, first) in repeats(keyed):
        kind = Kind.COPY if owner == other else Kind.COPY_ELSEWHERE
        report.add(kind, path, f"as {other}/{os.path.basename(first)}")


def _find_faults(speech, splits, report):
    """Report missing splits, too few speakers, and speakers in two splits."""
    if "all" in splits:
        count, needed = len(splits["all"]), 2 * len(SPLIT_FOLDERS)
        if count < needed:
            detail = f"{count}; three splits of 2 need {needed}"
            report.add(Kind.NO_SPEAKERS, speech, detail)
        return
    first = {}
    for split, *_ in SPLIT_FOLDERS.values():
        if split not in splits:
            report.add(Kind.NO_SPLIT, split)
        elif len(splits[split]) < 2:
            report.add(Kind.NO_SPEAKERS, split, f"{len(splits[split])}")
        for speaker in splits.get(split, ()):
            other = first.setdefault(speaker, split)
            if other != split:
                where, detail = f"speaker {speaker}", f"{other} and {split}"
                report.add(Kind.SHARED_SPEAKER, where, detail)
