"""Reading what an experiment left in its output folder, for the report."""

import csv
import dataclasses
import json
import math
import pathlib
import zipfile
import zlib

import numpy as np

from ..common.errors import UserError, first_line
from ..evaluation.scoring import RESULT_FILES
from .log import read_log

TEXTS = ("genders", "group")  # the columns that are no numbers
SPEAKER = ("speaker", "si-snr")  # what test_speakers.csv has to have
MOST = 1e9  # beyond it, a number is no score
AGAIN = "Test again: python train.py HPARAMS --test_only ..."
SCORES = ("si-snr", "si-snr_i", "sdr", "sdr_i")
TEST_SET = ("num_spks", "level_difference", "si-snr", "sdr")
FASTEST = 1_000_000  # samples per second
# What np.load and indexing raise for files that are no such archive.
BROKEN = (
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error),
    *(KeyError, ValueError, TypeError, AttributeError),
)


@dataclasses.dataclass
class Example:
    """One utterance to look at and to listen to."""

    name: str
    kind: str  # such as best, median, worst
    rate: int  # samples per second
    mixture: np.ndarray  # [T]
    sources: np.ndarray  # [C, T]
    estimates: dict  # head -> [C, T], in the order of the sources
    embeddings: np.ndarray | None = None  # [P, D], some of the bins
    speakers: np.ndarray | None = None  # [P], who dominates each


@dataclasses.dataclass
class Results:
    """All that the report is made of."""

    summary: dict
    heads: dict  # head -> utterance -> score -> value
    test_set: dict  # utterance -> fact -> value; empty where unknown
    speakers: list  # of facts of each speaker, see `read_speakers`
    examples: list  # of Example
    log: list  # of epochs, see `read_log`
    notes: list  # what was missing, for the reader


def read_results(folder):
    """Read an output folder.

    Arguments
    ---------
    folder : str or Path
        With summary.json and the results of at least one head; test_set.csv,
        test_speakers.csv, examples/*.npz and train_log.txt may be missing.

    Returns
    -------
    Results

    Raises
    ------
    UserError
        When summary.json or the results are missing, or any file is broken.
    """
    folder, notes = pathlib.Path(folder), []
    summary = read_summary(folder / "summary.json")
    heads = {
        head: read_table(folder / RESULT_FILES[head], SCORES)
        for head in RESULT_FILES
        if head in summary["heads"]
    }
    if not any(heads.values()):
        raise UserError(f"{folder} has no score of any utterance. {AGAIN}")
    test_set = {}
    if (folder / "test_set.csv").exists():
        test_set = read_table(folder / "test_set.csv", TEST_SET)
    else:
        notes.append(
            "There is no test_set.csv, so the ideal binary mask, the kinds of "
            "mixtures and the counting of speakers are left out."
        )
    speakers = []
    if (folder / "test_speakers.csv").exists():
        speakers = read_speakers(folder / "test_speakers.csv")
    else:
        notes.append(
            "There is no test_speakers.csv, so what each speaker gains, by its "
            "SI-SNR in the mixture, is left out. Test again to have it."
        )
    paths = sorted((folder / "examples").glob("*.npz"))
    if not paths:
        notes.append("There are no examples/*.npz to look at or listen to.")
    log = []
    if (folder / "train_log.txt").exists():
        log = read_log(folder / "train_log.txt")
    if not log:
        notes.append("There is no train_log.txt with the learning curves.")
    examples = [read_example(path) for path in paths]
    return Results(summary, heads, test_set, speakers, examples, log, notes)


def read_summary(path):
    """Read summary.json; see `scoring.Evaluation.write`."""
    if not path.exists():
        raise UserError(
            f"{path} is missing: {path.parent} is not the output folder of a "
            "run that was tested. Give that folder, or test first."
        )
    try:
        summary = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise broken(path, error) from error
    heads = summary.get("heads") if isinstance(summary, dict) else None
    if not isinstance(heads, dict) or not set(heads) & set(RESULT_FILES):
        raise UserError(
            f"{path} names none of the heads {' and '.join(RESULT_FILES)}. "
            f"{AGAIN}"
        )
    for head in set(heads) & set(RESULT_FILES):
        _check_scores(path, head, heads[head])
    losses = summary.get("losses") or {}
    if not isinstance(losses, dict):
        raise UserError(f"{path}: losses is not a table. {AGAIN}")
    for name, value in losses.items():
        _check_number(path, f"losses, {name}", value)
    return summary


def _check_scores(path, head, scores):
    """Raise unless what the summary has of a head is what it should be."""
    where = f"heads, {head}"
    if isinstance(scores, dict):
        where += ", si-snr_i"
        scores = scores.get("si-snr_i") or {}
    if not isinstance(scores, dict):
        raise UserError(f"{path}: {where} is not a table. {AGAIN}")
    _check_number(path, f"{where}, mean", scores.get("mean"))


def _check_number(path, what, value):
    """Raise unless a value is a number, or None for an undefined one."""
    if value is not None and not isinstance(value, int | float):
        raise UserError(f"{path}: {what}: {value!r} is no number. {AGAIN}")
    if isinstance(value, int) and abs(value) > FASTEST**2:
        raise UserError(f"{path}: {what} is out of range. {AGAIN}")


def read_example(path):
    """Read one of examples/*.npz; `evaluation` says what it holds."""
    try:
        with np.load(path, allow_pickle=False) as data:
            example = Example(
                name=str(data["name"]),
                kind=str(data["kind"]),
                rate=int(data["rate"]),
                mixture=data["mixture"],
                sources=data["sources"],
                estimates={h: data[h] for h in RESULT_FILES if h in data},
            )
            if "embeddings" in data:
                example.embeddings = data["embeddings"]
                example.speakers = data["speakers"]
    except BROKEN as error:
        raise broken(path, error) from error
    _check_shapes(path, example)
    return example


def _check_shapes(path, example):
    signals = (example.mixture, example.sources, *example.estimates.values())
    if any(each.dtype.kind not in "fiu" for each in signals):
        raise UserError(f"{path}: its signals are no real numbers. {AGAIN}")
    if not 0 < example.rate <= FASTEST:
        raise UserError(
            f"{path}: a rate of {example.rate} Hz is out of range. {AGAIN}"
        )
    if example.embeddings is not None and (
        example.embeddings.dtype.kind != "f"
        or example.speakers.dtype.kind not in "iu"
    ):
        raise UserError(
            f"{path}: its embeddings have to be real, and its speakers whole "
            f"numbers. {AGAIN}"
        )
    shape = example.sources.shape
    fit = (
        len(shape) == 2
        and min(shape) > 0
        and example.mixture.shape == shape[1:]
        and all(e.shape == shape for e in example.estimates.values())
    )
    if fit and example.embeddings is not None:
        points = example.embeddings.shape
        fit = len(points) == 2 and example.speakers.shape == points[:1]
    if not fit:
        raise UserError(
            f"{path}: its signals differ in length or number. {AGAIN}"
        )


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
