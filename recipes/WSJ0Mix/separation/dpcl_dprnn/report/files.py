"""Reading what an experiment left in its output folder, for the report."""

import contextlib
import csv
import dataclasses
import json
import pathlib
import zipfile
import zlib

import numpy as np

from ..common.errors import UserError, first_line
from ..evaluation.scoring import RESULT_FILES, SPEAKERS, TEST_SET
from .log import read_log

AGAIN = "Test again: python train.py HPARAMS --test_only ..."
TEXTS = ("snt_id", "genders", "group")  # the columns that are no numbers
# Columns that have to be there:
OF_SCORES = ("si-snr", "si-snr_i", "sdr", "sdr_i")
OF_TEST_SET = ("num_spks", "level_difference", "si-snr", "sdr")
OF_SPEAKERS = ("speaker", "si-snr")
MISSING = {  # what the page says where there is no such file
    TEST_SET: "There is no test_set.csv, so the ideal binary mask, the kinds "
    "of mixtures and the counting of speakers are left out.",
    SPEAKERS: "There is no test_speakers.csv, so what each speaker gains, by "
    "its SI-SNR in the mixture, is left out. Test again to have it.",
    "examples/*.npz": "There are no examples/*.npz to look at or listen to.",
}
# What files raise that are cut, or are something else.
BROKEN = (
    *(OSError, EOFError, zipfile.BadZipFile, zlib.error, csv.Error),
    *(LookupError, ValueError, TypeError, AttributeError),
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
    speakers: list  # rows of test_speakers.csv, see `read_rows`
    examples: list  # of Example
    log: list  # of epochs, see `read_log`
    notes: list  # what was missing, for the reader


def read_results(folder):
    """The `Results` in an output folder.

    A `UserError` where summary.json, or the results of a head that it names,
    are missing, or any file is broken. test_set.csv, test_speakers.csv,
    examples/*.npz and train_log.txt may be missing.
    """
    folder = pathlib.Path(folder)
    path = folder / "summary.json"
    if not path.exists():
        raise UserError(
            f"{path} is missing: {folder} is not the output folder of a run "
            "that was tested. Give that folder, or test first."
        )
    with reading(path):
        summary = json.loads(path.read_text(encoding="utf-8-sig"))
        if not summary.get("heads", {}).keys() & RESULT_FILES.keys():
            raise ValueError(
                f"it names none of the heads {' and '.join(RESULT_FILES)}"
            )
    heads = {
        head: read_table(folder / RESULT_FILES[head], OF_SCORES)
        for head in RESULT_FILES
        if head in summary["heads"]
    }
    if not any(heads.values()):
        raise UserError(f"{folder} has no score of any utterance. {AGAIN}")
    notes = [
        note for name, note in MISSING.items() if not any(folder.glob(name))
    ]
    test_set, speakers, log = {}, [], []
    if (path := folder / TEST_SET).exists():
        test_set = read_table(path, OF_TEST_SET)
    if (path := folder / SPEAKERS).exists():
        speakers = read_rows(path, OF_SPEAKERS)
    if (path := folder / "train_log.txt").exists():
        with reading(path):
            log = read_log(path)
    if not log:
        notes.append("There is no train_log.txt with the learning curves.")
    examples = map(read_example, sorted(folder.glob("examples/*.npz")))
    return Results(
        summary, heads, test_set, speakers, list(examples), log, notes
    )


@contextlib.contextmanager
def reading(path):
    """Where a file is read: if it is broken, say which and what to do."""
    try:
        yield
    except BROKEN as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise UserError(
            f"Cannot read {path}: {why.rstrip('.')}. {AGAIN}"
        ) from error


def read_rows(path, needed):
    """The rows of a CSV file of results, `{"snt_id": name, column: value}`.

    Numbers are NaN where undefined. A last row of averages, `avg`, is left
    out. A table with rows that lacks a needed column is a `UserError`.
    """
    rows = []
    with reading(path), open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        lines = filter(None, reader)
        header = next(lines, [])
        for cells in lines:
            for column in ("snt_id", *needed):
                if column not in header:
                    raise ValueError(f"it has no column {column}")
            if len(cells) != len(header):
                counts = f"{len(cells)} cells, not {len(header)}"
                raise ValueError(f"line {reader.line_num} has {counts}")
            row = dict(zip(header, cells, strict=True))
            for column in row.keys() - TEXTS:
                row[column] = float(row[column] or "nan")
            rows.append(row)
    if rows and rows[-1]["snt_id"] == "avg":
        rows.pop()
    return rows


def read_table(path, needed):
    """`read_rows`, as `{snt_id: {column: value}}`."""
    return {row.pop("snt_id"): row for row in read_rows(path, needed)}


def read_example(path):
    """Read one of examples/*.npz; see `evaluation.examples.make_example`."""
    with reading(path), np.load(path, allow_pickle=False) as data:
        return Example(
            name=str(data["name"]),
            kind=str(data["kind"]),
            rate=int(data["rate"]),
            mixture=data["mixture"],
            sources=data["sources"],
            estimates={h: data[h] for h in RESULT_FILES if h in data},
            embeddings=data.get("embeddings"),
            speakers=data.get("speakers"),
        )
