"""Reading what an experiment left in its output folder, for the report."""

import csv
import dataclasses
import json
import math
import pathlib
import zipfile
import zlib

import numpy as np

from .errors import UserError, first_line
from .evaluation import RESULT_FILES
from .report_log import read_log

SCORES = ("si-snr", "si-snr_i", "sdr", "sdr_i")
TEST_SET = ("num_spks", "level_difference", "si-snr", "sdr")
TEXTS = ("genders",)  # the columns that are no numbers
AGAIN = "Test again: python train.py HPARAMS --test_only ..."
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
    examples: list  # of Example
    log: list  # of epochs, see `read_log`
    notes: list  # what was missing, for the reader


def read_results(folder):
    """Read an output folder.

    Arguments
    ---------
    folder : str or Path
        With summary.json and the results of at least one head; test_set.csv,
        examples/*.npz and train_log.txt may be missing.

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
    paths = sorted((folder / "examples").glob("*.npz"))
    if not paths:
        notes.append("There are no examples/*.npz to look at or listen to.")
    log = []
    if (folder / "train_log.txt").exists():
        log = read_log(folder / "train_log.txt")
    if not log:
        notes.append("There is no train_log.txt with the learning curves.")
    examples = [read_example(path) for path in paths]
    return Results(summary, heads, test_set, examples, log, notes)


def read_summary(path):
    """Read summary.json; see `evaluation.Evaluation.write`."""
    if not path.exists():
        raise UserError(
            f"{path} is missing: {path.parent} is not the output folder of a "
            "run that was tested. Give that folder, or test first."
        )
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _broken(path, error) from error
    heads = summary.get("heads") if isinstance(summary, dict) else None
    if not isinstance(heads, dict) or not set(heads) & set(RESULT_FILES):
        raise UserError(
            f"{path} names none of the heads {' and '.join(RESULT_FILES)}. "
            f"{AGAIN}"
        )
    return summary


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
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            header, *lines = [*csv.reader(file)] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise _broken(path, error) from error
    for column in ("snt_id", *needed):
        if column not in header:
            raise UserError(f"{path} has no column {column}. {AGAIN}")
    rows = {}
    for number, cells in enumerate(lines, start=2):
        if len(cells) != len(header):
            raise UserError(
                f"{path}, line {number}: {len(cells)} cells, not "
                f"{len(header)}. {AGAIN}"
            )
        row = dict(zip(header, cells, strict=True))
        snt_id = row.pop("snt_id")
        if snt_id == "avg" and number == len(lines) + 1:
            break
        rows[snt_id] = {
            column: cell
            if column in TEXTS
            else _number(cell, f"{path}, line {number}", column in needed)
            for column, cell in row.items()
        }
    return rows


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
    return value if math.isfinite(value) else math.nan


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
        raise _broken(path, error) from error
    _check_shapes(path, example)
    return example


def _check_shapes(path, example):
    shape = example.sources.shape
    fit = (
        len(shape) == 2
        and min(*shape, example.rate) > 0
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


def _broken(path, error):
    why = error.strerror if isinstance(error, OSError) else None
    why = (why or first_line(error)).rstrip(".")
    return UserError(f"Cannot read {path}: {why}. {AGAIN}")
