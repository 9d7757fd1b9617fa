"""Reading the tables of results, for the report."""

import csv
import math

from ..common.errors import UserError, first_line

TEXTS = ("genders", "group")  # the columns that are no numbers
SPEAKER = ("speaker", "si-snr")  # what test_speakers.csv has to have
MOST = 1e9  # beyond it, a number is no score
AGAIN = "Test again: python train.py HPARAMS --test_only ..."


def read_table(path, needed):
    """Read a CSV file with a row for each utterance.

    Arguments
    ---------
    path : pathlib.Path
        Its last row may be the averages, `avg`, which are left out.
    needed : sequence of str
        Columns that have to be there and to hold numbers or nothing.

    Returns
    -------
    dict
        `{snt_id: {column: value}}`; numbers are NaN where undefined.

    Raises
    ------
    UserError
        When it cannot be read, or is not such a table.
    """
    rows = _read_rows(path, needed)
    if rows and rows[-1]["snt_id"] == "avg":
        rows.pop()
    return {row.pop("snt_id"): row for row in rows}


def read_speakers(path):
    """Read test_speakers.csv, with a row for each speaker of an utterance.

    Arguments
    ---------
    path : pathlib.Path

    Returns
    -------
    list of dict
        `{"snt_id", "speaker", "group", "si-snr", "masks_si-snr_i", ...}`;
        numbers are NaN where undefined. Empty where no utterance has several
        speakers.

    Raises
    ------
    UserError
        When it cannot be read, or is not such a table.
    """
    header, lines = _read_lines(path)
    if header == ["snt_id"] and not lines:
        return []
    return _read_rows(path, SPEAKER)


def broken(path, error):
    """The error that says why a file cannot be read."""
    why = error.strerror if isinstance(error, OSError) else None
    why = (why or first_line(error)).rstrip(".")
    return UserError(f"Cannot read {path}: {why}. {AGAIN}")


def _read_lines(path):
    """The header and the numbered lines that are not empty."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = [line for line in enumerate(csv.reader(file), 1) if line[1]]
    except (OSError, ValueError, csv.Error) as error:
        raise broken(path, error) from error
    return (lines[0][1], lines[1:]) if lines else ([], [])


def _read_rows(path, needed):
    header, lines = _read_lines(path)
    for column in ("snt_id", *needed):
        if column not in header:
            raise UserError(f"{path} has no column {column}. {AGAIN}")
    rows = []
    for number, cells in lines:
        where = f"{path}, line {number}"
        if len(cells) != len(header):
            raise UserError(
                f"{where}: {len(cells)} cells, not {len(header)}. {AGAIN}"
            )
        rows.append(
            {
                column: cell
                if column in ("snt_id", *TEXTS)
                else _number(cell, where, _strict(column, needed))
                for column, cell in zip(header, cells, strict=True)
            }
        )
    return rows


def _strict(column, needed):
    return column in needed or column.endswith("_si-snr_i")


def _number(cell, where, needed):
    """A cell's value; NaN for nothing, and for words where they may be."""
    try:
        value = float(cell or "nan")
    except ValueError:
        if needed:
            raise UserError(
                f"{where}: {cell!r} is no number. {AGAIN}"
            ) from None
        value = math.nan
    if needed and MOST < abs(value) < math.inf:
        raise UserError(f"{where}: {cell} is out of range. {AGAIN}")
    return value if abs(value) <= MOST else math.nan
