"""What is known of the speakers of a mixture, such as their gender."""

import csv
import pathlib
import re

from .errors import UserError

COLUMNS = ("gender", "sex", "register")  # the first that there is


def speaker_groups(place):
    """Read a table of speakers.

    Arguments
    ---------
    place : str or Path
        A CSV file with the columns `speaker` and `gender` (`sex` and
        `register`, high or low, do too), or a folder that may have one named
        `speakers.csv`. "" for none.

    Returns
    -------
    dict of str to str
        The group of each speaker.

    Raises
    ------
    UserError
        When a file that was named is not of that form.
    """
    path = pathlib.Path(place) if place else None
    if path is None:
        return {}
    named = not path.is_dir()
    if not named:
        path = path / "speakers.csv"
        if not path.is_file():
            return {}
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"Cannot read {path}: {error}.") from error
    names = rows[0].keys() if rows else ()
    column = next((name for name in COLUMNS if name in names), None)
    if "speaker" in names and column:
        return {row["speaker"]: row[column] for row in rows}
    if named:
        raise UserError(
            f"{path} needs the columns speaker and gender, after a line that "
            "names them."
        )
    return {}


def groups_of(snt_id, groups):
    """The groups of a mixture's speakers, sorted.

    Arguments
    ---------
    snt_id : str
        The mixture's name, in which each utterance is followed by its gain,
        as in wsj0-mix. Utterances begin with the name of their speaker.
    groups : dict of str to str
        Of `speaker_groups`.

    Returns
    -------
    str
        "" when a speaker is unknown.

    Example
    -------
    >>> groups_of("40na010x_1.98_01xo031a_-1.98", {"40n": "F", "01x": "M"})
    'F-M'
    >>> groups_of("0-7_19-198-0000_1.98_260-123-1_-1.98", {"19": "F"})
    ''
    """
    name = re.sub(r"^\d+-\d+_", "", snt_id)  # epoch and number, on the fly
    found = []
    for utterance in re.findall(r"(.+?)_-?\d+\.\d+(?:_|$)", name):
        speakers = [s for s in groups if _is_of(utterance, s)]
        if not speakers:
            return ""
        found.append(groups[max(speakers, key=len)])
    return "-".join(sorted(found))


def _is_of(utterance, speaker):
    """Whether an utterance begins with a speaker's name: not 198 with 19."""
    rest = utterance[len(speaker) :]
    split_number = speaker[-1:].isdigit() and rest[:1].isdigit()
    return utterance.startswith(speaker) and not split_number
