"""The part of the data doctor that looks at folders of speakers."""

import os
import pathlib

from ..common.errors import few
from ..common.parallel import parallel_map
from ..speech.speakers import (
    SHORTEST,
    SPLIT_FOLDERS,
    speech_files,
    split_folders,
)
from .facts import hours_of, lengths_of, sample
from .files import check_speech
from .report import Kind, Problem, Report, folder_problem

SAMPLE = 200  # utterances of each split that a quick check reads
FEW = 1000  # read before another process has even started
TABLE = "  {:5} {:>8} {:>10} {:>6}  {:14} {}"


def examine_speech(speech, quick=False, jobs=None, progress=True):
    """Check a folder of speakers.

    Arguments
    ---------
    speech : str or Path
        See `speakers.find_speakers`.
    quick : bool
        Whether to read only some utterances of each split.
    jobs : int, optional
        Processes; as many as there are cores by default.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Report or None
        None if no folder in it has sound files.
    """
    report = Report("speech, a folder for each speaker")
    errors = []
    splits, loose = list_speech(speech, errors.append)
    if not any(splits.values()):
        return None
    report.problems += map(folder_problem, errors)
    if quick:
        report.notes.append(
            f"quick: up to {SAMPLE} utterances a split were read; hours are "
            "estimates"
        )
    if loose:
        report.notes.append(
            f"{len(loose):,} files in no speaker's folder are passed over"
        )
    report.facts.append(
        TABLE.format(
            *("split", "speakers", "utterances", "hours"),
            *("length in s", "rate"),
        )
    )
    chosen = {}
    for split, speakers in splits.items():
        paths = [path for each in speakers.values() for path in each]
        chosen[split] = sample(paths, SAMPLE) if quick else paths
    paths = [path for each in chosen.values() for path in each]
    jobs = 1 if len(paths) < FEW else jobs
    checks = parallel_map(
        check_speech,
        paths,
        "utterance",
        jobs,
        progress=progress,
        name="checking",
    )
    checks = dict(zip(paths, checks, strict=True))
    for split, speakers in splits.items():
        found = [checks[path] for path in chosen[split]]
        report.facts.append(_fact(split, speakers, found))
    for check in checks.values():
        report.problems += check.problems
    _note_short(checks.values(), report)
    report.problems += _copies(splits, checks)
    report.problems += _speakers_at_fault(speech, splits)
    return report


def list_speech(speech, on_error):
    """List the utterances of every speaker, whatever is wrong with them.

    Arguments
    ---------
    speech : str or Path
        Folder of speakers.
    on_error : callable
        Gets the `OSError` of each folder that cannot be read.

    Returns
    -------
    splits : dict
        `{split: {speaker: [path, ...]}}`; the only split of a flat folder is
        `all`.
    loose : list of str
        Sound files that are in no speaker's folder.
    """
    speech = pathlib.Path(os.path.abspath(speech))
    splits, loose = {}, []
    for split, folders in split_folders(speech).items():
        for folder in folders:
            speakers = splits.setdefault(SPLIT_FOLDERS[split][0], {})
            _list_speakers(folder, speakers, loose, on_error)
    if not splits:
        splits["all"] = {}
        _list_speakers(speech, splits["all"], loose, on_error)
    return splits, loose


def _list_speakers(folder, found, loose, on_error):
    """Add the utterances below a folder, by speaker."""
    for path in speech_files(folder, on_error):
        inside = path.relative_to(folder).parts
        if len(inside) > 1:
            found.setdefault(inside[0], []).append(str(path))
        else:
            loose.append(str(path))


def _fact(split, speakers, checks):
    """The line of the page about one split."""
    count = sum(map(len, speakers.values()))
    seconds = [check.frames / check.rate for check in checks if check.frames]
    rates = sorted({check.rate for check in checks if check.rate})
    rates = " and ".join(f"{rate} Hz" for rate in rates) or "?"
    return TABLE.format(
        *(split, f"{len(speakers):,}", f"{count:,}"),
        *(hours_of(seconds, count), lengths_of(seconds), rates),
    )


def _note_short(checks, report):
    """Note the utterances that are too short to be mixed."""
    short = [
        os.path.basename(check.path)
        for check in checks
        if check.frames and check.frames < SHORTEST * check.rate
    ]
    if short:
        report.notes.append(
            f"{len(short):,} utterances under {SHORTEST} s are passed over "
            f"({few(short)})"
        )


def _copies(splits, checks):
    """Utterances that come twice: of one speaker, or of two."""
    problems, first = [], {}
    for split, speakers in splits.items():
        for speaker, paths in speakers.items():
            for path in paths:
                digest = checks[path].digest if path in checks else None
                if digest is None:
                    continue
                owner, other = first.setdefault(
                    digest, ((split, speaker), path)
                )
                if other != path:
                    same = owner == (split, speaker)
                    kind = Kind.COPY if same else Kind.COPY_ELSEWHERE
                    detail = f"as {'/'.join(owner)}/{os.path.basename(other)}"
                    problems.append(Problem(kind, path, detail))
    return problems


def _speakers_at_fault(speech, splits):
    """Missing splits, too few speakers, and speakers in two splits."""
    if "all" in splits:
        count = len(splits["all"])
        if count >= 2 * len(SPLIT_FOLDERS):
            return []
        detail = f"{count}; three splits of 2 need {2 * len(SPLIT_FOLDERS)}"
        return [Problem(Kind.NO_SPEAKERS, str(speech), detail)]
    problems, first = [], {}
    for split, *_ in SPLIT_FOLDERS.values():
        if split not in splits:
            problems.append(Problem(Kind.NO_SPLIT, split))
        elif len(splits[split]) < 2:
            detail = f"{len(splits[split])}"
            problems.append(Problem(Kind.NO_SPEAKERS, split, detail))
        for speaker in splits.get(split, ()):
            other = first.setdefault(speaker, split)
            if other != split:
                problems.append(
                    Problem(
                        Kind.SHARED_SPEAKER,
                        f"speaker {speaker}",
                        f"{other} and {split}",
                    )
                )
    return problems
