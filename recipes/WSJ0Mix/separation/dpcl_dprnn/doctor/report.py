"""What the data doctor says: problems, facts and the page that shows them."""

import enum
import os
import typing
from dataclasses import dataclass, field

PAGE = 40  # lines at most, where there are few kinds of problems
NAMES = 5  # names at most for each kind of problem


AGAIN = "Copy or make them again."
REMOVE_ONE = "Remove one of each."


class Kind(enum.Enum):
    """The problems that the doctor knows, and what to do about each."""

    # Folders and files
    UNREADABLE_FOLDER = (
        "folders that cannot be read",
        "Check the disk and who may read them.",
    )
    UNREADABLE = "files that cannot be read", AGAIN
    EMPTY = "files without samples", AGAIN
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
    NO_MIXTURE = "mixtures that metadata list and are missing", AGAIN
    MISSING = "missing sources", AGAIN
    EXTRA = "sources without a mixture", "Copy the mixtures or remove these."
    SAME_NAME = "files whose names differ in the suffix only", REMOVE_ONE
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
    DUPLICATE = "mixtures that come twice", REMOVE_ONE
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
    COPY = "utterances that come twice", REMOVE_ONE
    COPY_ELSEWHERE = "utterances that two speakers or splits share", REMOVE_ONE
    # WSJ0
    NO_DECODER = (
        "shorten-compressed files, and no program to decode them",
        "Install one: pip install imageio-ffmpeg.",
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

    def place(self, data):
        """Where it is, below the data folder if it is a file there."""
        above = os.path.join(os.path.abspath(data), "")
        return self.where.removeprefix(above)

    def said(self):
        """The detail as it follows on a line."""
        return f" ({self.detail})" if self.detail else ""


@dataclass
class Report:
    """What was found; problems in any order, repeated ones count once."""

    title: str  # what the data are
    facts: list = field(default_factory=list)  # lines of the page
    notes: list = field(default_factory=list)  # worth knowing, no problems
    problems: list = field(default_factory=list)

    def add(self, kind, where, detail=""):
        """Report a problem; see `Problem`."""
        self.problems.append(Problem(kind, str(where), detail))

    def add_folder(self, error):
        """Report a folder that cannot be read, from its `OSError`."""
        self.add(Kind.UNREADABLE_FOLDER, error.filename, error.strerror)

    def by_kind(self):
        """The problems of each kind, in the order of `Kind`, without repeats."""
        unique = dict.fromkeys(self.problems)
        found = {kind: [p for p in unique if p.kind is kind] for kind in Kind}
        return {kind: each for kind, each in found.items() if each}

    def page(self, data):
        """The report as text, in about 40 lines, with the names of files below
        the folder `data`; the last line is `OK`, or the last problem's.
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
            lines += [
                f"    {p.place(data)}{p.said()}" for p in problems[:shown]
            ]
            if len(problems) > shown:
                lines.append(f"    and {len(problems) - shown:,} more")
        return "\n".join(lines) + "\n"

    def problem_lines(self, data):
        """All problems, one line each: `file: kind (detail). Advice`."""
        return "".join(
            f"{p.place(data)}: {kind.title}{p.said()}. {kind.advice}\n"
            for kind, problems in self.by_kind().items()
            for p in problems
        )


def printable(text, encoding="utf-8"):
    """Text with escapes for what an encoding cannot write.

    File names may be bytes that are no text at all.

    Example
    -------
    >>> print(printable("é.wav", "ascii"))
    \\xe9.wav
    """
    return text.encode(encoding, "backslashreplace").decode(encoding)
