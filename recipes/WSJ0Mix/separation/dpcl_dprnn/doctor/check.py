"""The data doctor: what is in a folder of data, and what is wrong with it.

It knows data sets of mixtures, folders of speakers, and WSJ0. Problems do not
stop it; it lists them all.
"""

import os
import pathlib
import sys

from ..common.errors import UserError
from ..common.files import write_text
from ..datasets.layouts import find_data_sets
from .mixtures import examine_mixtures
from .report import printable
from .speech import examine_speech
from .wsj0 import examine_wsj0


def examine(data, levels=None, quick=False, jobs=None, progress=True):
    """Find out what a folder of data holds and what is wrong with it.

    Arguments
    ---------
    data : str or Path
        Mixtures in a layout of `layouts`, or a folder with such folders; a
        folder of speakers; or WSJ0.
    levels : str or Path, optional
        For WSJ0: folder with MERL's table of active levels.
    quick : bool
        Whether to go by all names, but to read a sample of the files only.
    jobs : int, optional
        Processes; as many as there are cores by default.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Report

    Raises
    ------
    UserError
        When the folder is missing or nothing known.
    """
    data = pathlib.Path(os.path.abspath(data))
    if not data.is_dir():
        raise UserError(f"{data} is not a folder. Set --data.")
    options = {"quick": quick, "jobs": jobs, "progress": progress}
    try:
        return _examine(data, levels, options)
    except OSError as error:  # a folder that may not be read, mostly
        raise UserError(
            f"Cannot read {error.filename or data}: {error.strerror or error}. "
            "Check the disk and who may read the folder."
        ) from error


def _examine(data, levels, options):
    data_sets = _find_all(data)
    if data_sets:
        report = examine_mixtures(data_sets, **options)
    else:
        report = examine_wsj0(data, levels, **options)
        if report:
            return report
        report = examine_speech(data, **options)
    if report is None:
        _refuse_unfinished(data)
        names = sorted(path.name for path in data.iterdir())
        raise UserError(
            f"{data} is nothing known: neither mixtures, nor WSJ0 (si_tr_s, "
            "...), nor a folder for each speaker with WAV or FLAC files. "
            f"Found {', '.join(names[:5]) or 'an empty folder'}."
        )
    if levels:
        report.notes.append("this is not WSJ0: --levels is not used")
    return report


def _refuse_unfinished(data):
    """Say so where mixtures were begun and none is finished."""
    for depth in range(4):
        for folder in data.glob("*/" * depth + ".*-unfinished"):
            raise UserError(
                f"{folder.parent} has mixtures that are unfinished. Run the "
                "same command again: it goes on where it stopped."
            )


def _find_all(data):
    """The data sets of a folder, or else of the folders in it."""
    inside = sorted(path for path in data.iterdir() if path.is_dir())
    return find_data_sets(data) or [
        each
        for folder in inside
        if folder.name[0] != "."
        for each in find_data_sets(folder)
    ]


def check(data, levels=None, quick=False, problems=None):
    """Print what a folder of data holds and what is wrong with it.

    Arguments
    ---------
    data, levels, quick
        See `examine`.
    problems : str or Path, optional
        File to write all problems to, one on each line.

    Returns
    -------
    bool
        Whether there is no problem.

    Raises
    ------
    UserError
        When the folder is missing or nothing known, or the file of problems
        cannot be written.
    """
    report = examine(data, levels, quick)
    if problems:
        write_text(problems, printable(report.problem_lines(data)))
    print(printable(report.page(data), sys.stdout.encoding or "utf-8"), end="")
    return not report.problems
