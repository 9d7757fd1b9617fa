"""The data doctor: what is in a folder of data, and what is wrong with it.

It knows data sets of mixtures, folders of speakers, and WSJ0. Problems do not
stop it; it lists them all.
"""

import os
import pathlib
import sys

from ..common.errors import UserError
from ..common.files import write_text
from ..datasets.data_sets import find_data_sets
from .examiner import Reader
from .mixtures import examine_mixtures
from .report import printable
from .speech import examine_speech
from .wsj0 import examine_wsj0


def examine(data, levels=None, quick=False, speaker_level=0, jobs=None):
    """The `Report` of a folder: of mixtures in a layout of `layouts`, or with
    such folders in it; of speakers; or of WSJ0, with a folder of MERL's active
    levels, if there is one. If quick, it goes by all names, but reads a sample
    of the files. `speaker_level` is as of `find_speakers`; `jobs` are processes, by default as many as there are cores.

    Raises
    ------
    UserError
        When the folder is missing or nothing known.
    """
    data = pathlib.Path(os.path.abspath(data))
    if not data.is_dir():
        raise UserError(f"{data} is not a folder. Set --data.")
    reader = Reader(quick, jobs)
    try:
        data_sets = find_data_sets(data) or [
            each
            for folder in sorted(data.glob("[!.]*"))
            if folder.is_dir()
            for each in find_data_sets(folder)
        ]
        if data_sets:
            report = examine_mixtures(data_sets, reader)
        elif report := examine_wsj0(data, levels, reader):
            return report
        else:
            report = examine_speech(data, reader, speaker_level)
        if not report:
            raise UserError(_nothing_known(data))
    except OSError as error:  # a folder that may not be read, mostly
        raise UserError(
            f"Cannot read {error.filename or data}: {error.strerror or error}. "
            "Check the disk and who may read the folder."
        ) from error
    if levels:
        report.notes.append("this is not WSJ0: --levels is not used")
    return report


def _nothing_known(data):
    """Say what was looked for, or that mixtures were begun."""
    for depth in range(4):
        for folder in data.glob("*/" * depth + ".*-unfinished"):
            return (
                f"{folder.parent} has mixtures that are unfinished. Run the "
                "same command again: it goes on where it stopped."
            )
    names = sorted(path.name for path in data.iterdir())
    return (
        f"{data} is nothing known: neither mixtures, nor WSJ0 (si_tr_s, "
        "...), nor a folder for each speaker with sound files. "
        f"Found {', '.join(names[:5]) or 'an empty folder'}."
    )


def check(data, levels=None, quick=False, problems=None, speaker_level=0):
    """Print what `examine` says of a folder of data; write all problems to a
    file, one on each line, if `problems` names one. Whether there is no
    problem.

    Raises
    ------
    UserError
        As of `examine`, or when the file of problems cannot be written.
    """
    report = examine(data, levels, quick, speaker_level)
    if problems:
        write_text(problems, printable(report.problem_lines(data)))
    print(printable(report.page(data), sys.stdout.encoding or "utf-8"), end="")
    return not report.problems
