"""What the data doctor says: problems, facts and the page that shows them."""

import dataclasses
import enum
import os
import typing

PAGE = 40  # lines at most, where there are few kinds of problems
NAMES = 5  # names at most for each kind of problem


class Kind(enum.Enum):
    """The problems that the doctor knows, and what to do about each."""

    # Folders and files
    UNREADABLE_FOLDER = (
        "folders that cannot be read",
        "Check the disk and who may read them.",
    )
    UNREADABLE = "files that cannot be read", "Copy or make them again."
    EMPTY = "files without samples", "Copy or make them again."
    NOT_FINITE = "files with NaN or infinite samples", "Make them again."
    STEREO = "files with several channels", "Convert them to mono."
    WRONG_RATE = (
        "files at another sampling rate than they should be",
        "Resample them, or put them into a folder for their rate.",
    )
    CLIPPED = (
        "clipped files (3 or more samples at full scale in a row)",
        "Make them again at a lower level, or remove them.",
    )
    SILENT = (
        "silent files (peak under 4 steps of 16 bits)",
        "Make them again, or remove them.",
    )
    # Mixtures
    NO_MIXTURES = "splits without mixtures", "Copy or make them."
    NO_MIXTURE = (
        "mixtures that metadata list and are missing",
        ("Copy or make them again."),
    )
    MISSING = "missing sources", "Copy or make them again."
    EXTRA = "sources without a mixture", "Copy the mixtures or remove these."
    SAME_NAME = (
        "files whose names differ in the suffix only",
        "Remove one of each.",
    )
    INCOMPLETE = (
        "almost complete sets, as an interrupted copy leaves them",
        "Copy or make the rest.",
    )
    UNEQUAL = (
        "sources of another length than their mixture",
        "Make the mixtures again.",
    )
    NOT_THE_SUM = (
        "mixtures that are not the sum of their sources",
        "The files do not belong together: copy or make them all again.",
    )
    SAME_SOURCES = "mixtures of a signal with itself", "Make them again."
    DUPLICATE = "mixtures that come twice", "Remove one of each."
    LEAK = (
        "mixtures that are in two splits",
        "Remove them from one: what is trained on cannot test.",
    )
    SHARED_SPEAKER = (
        "speakers that are in two splits",
        "Make the mixtures from disjoint speakers: scores would be too high.",
    )
    SECOND_MICROPHONE = (
        "files made of .wv2, the second microphone",
        "Make them again from .wv1: results would be much worse.",
    )
    LIST = "lists or folders that do not fit together", "Make them again."
    # Speech
    NO_SPEAKERS = (
        "splits with too few speakers",
        "Add folders of speakers: a mixture needs 2 or more.",
    )
    NO_SPLIT = (
        "missing splits",
        "Copy or make them: train, valid and test are all needed.",
    )
    COPY = "utterances that come twice", "Remove one of each."
    COPY_ELSEWHERE = (
        "utterances that two speakers or splits share",
        "Remove one of each.",
    )
    # WSJ0
    NO_DECODER = (
        "shorten-compressed files, and no program to decode them",
        "Install one: pip install imageio-ffmpeg, or sph2pipe.",
    )
    ONLY_WV2 = (
        "utterances of the second microphone only (.wv2)",
        "Copy their .wv1 files from the discs.",
    )
    WAV_OF_WV2 = (
        ".wav files made of the second microphone (.wv2)",
        "Remove them, or convert the .wv1 files.",
    )
    WRONG_LEVEL = (
        "utterances far from their published level",
        "They may be of the second microphone: convert the .wv1 files.",
    )

    def __init__(self, title, advice):
        self.title = title
        self.advice = advice


class Problem(typing.NamedTuple):
    """One thing that is wrong."""

    kind: Kind
    where: str  # a file, mostly; a split or a speaker
    detail: str = ""


@dataclasses.dataclass
class Report:
    """What was found.

    Arguments
    ---------
    title : str
        What the data are.
    facts : list of str
        Lines of the page.
    notes : list of str
        What is worth knowing, but no problem.
    problems : list of Problem
        In any order; repeated ones count once.
    """

    title: str
    facts: list = dataclasses.field(default_factory=list)
    notes: list = dataclasses.field(default_factory=list)
    problems: list = dataclasses.field(default_factory=list)

    def by_kind(self):
        """`{kind: [problem, ...]}` in the order of `Kind`, without repeats."""
        unique = dict.fromkeys(self.problems)
        found = {kind: [p for p in unique if p.kind is kind] for kind in Kind}
        return {kind: each for kind, each in found.items() if each}

    def page(self, data):
        """The report as text, in about 40 lines.

        Arguments
        ---------
        data : str or Path
            The folder that was checked; names of files are relative to it.

        Returns
        -------
        str
            Its last line is `OK`, or the last problem's.
        """
        lines = [f"{data}: {self.title}", *self.facts]
        lines += [f"  note: {note}" for note in self.notes]
        kinds = self.by_kind()
        if not kinds:
            return "\n".join([*lines, "OK"]) + "\n"
        room = (PAGE - len(lines) - 1) // len(kinds) - 2
        shown = max(1, min(NAMES, room))
        total = sum(map(len, kinds.values()))
        lines.append(f"{total:,} problem{'s' if total > 1 else ''}:")
        for kind, problems in kinds.items():
            lines.append(f"  {len(problems):,} {kind.title}. {kind.advice}")
            lines += [f"    {_name(p, data)}" for p in problems[:shown]]
            if len(problems) > shown:
                lines.append(f"    and {len(problems) - shown:,} more")
        return "\n".join(lines) + "\n"

    def problem_lines(self, data):
        """All problems, one line each: `file: kind (detail). Advice`."""
        return "".join(
            f"{_relative(p.where, data)}: {kind.title}"
            f"{f' ({p.detail})' if p.detail else ''}. {kind.advice}\n"
            for kind, problems in self.by_kind().items()
            for p in problems
        )


def folder_problem(error):
    """The problem of a folder that cannot be read, from its `OSError`."""
    return Problem(Kind.UNREADABLE_FOLDER, error.filename, error.strerror)


def printable(text, encoding="utf-8"):
    """Text with escapes for what an encoding cannot write.

    File names may be bytes that are no text at all.

    Example
    -------
    >>> print(printable("é.wav", "ascii"))
    \\xe9.wav
    """
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _name(problem, data):
    name = _relative(problem.where, data)
    return f"{name} ({problem.detail})" if problem.detail else name


def _relative(where, data):
    """The path below the data folder, or what else it says."""
    parent = os.path.join(os.path.abspath(data), "")
    absolute = os.path.abspath(where)
    if os.path.isabs(where) and absolute.startswith(parent):
        return absolute[len(parent) :]
    return where


def span(values, digits=1, join=" to "):
    """The least and the greatest of some numbers as text.

    Example
    -------
    >>> span([0.5, -2.25], digits=2)
    '-2.25 to 0.50'
    >>> span([])
    '?'
    """
    values = [value for value in values if value is not None]
    if not values:
        return "?"
    ends = [round(v, digits) + 0.0 for v in (min(values), max(values))]
    return join.join(f"{value:.{digits}f}" for value in ends)  # no -0.0
