"""Which data sets of mixtures a folder holds, and the one to train on.

They are recognised by what the folder holds, never by its name.
"""

import csv
import dataclasses
import logging
import os
import pathlib
import typing

from ..common.errors import UserError
from .layouts import LAYOUTS, Layout

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DataSet:
    """One variant of the mixtures in a data folder."""

    layout: Layout  # how the files are named
    root: pathlib.Path  # the folder that holds the splits
    rate: int | None  # in Hz after the folder's name, if that has one
    mode: str | None  # min or max after the folder's name, if that has one
    mixture_type: str  # clean, or both with noise too
    num_spks: int  # speakers in each mixture
    folders: dict  # of train, valid and test; () where there is none

    @property
    def kind(self):
        """The name of the mixtures' folder."""
        return self.layout.mixtures[self.mixture_type]

    def place(self, folder, kind):
        """Where a folder of a split has a kind of file."""
        return self.root / self.layout.place.format(split=folder, kind=kind)

    def rows(self, split):
        """List the mixtures of `train`, `valid` or `test` with their sources,
        `{ID: [mixture, source 1, source 2, ...]}`, sorted. Where there are
        metadata, they say which mixtures belong to the split.

        Raises
        ------
        UserError
            When the split is missing or empty, lacks a file, or has two
            mixtures of one name.
        """
        if not self.folders[split]:
            place = self.place(self.layout.splits[split][0], self.kind)
            raise UserError(
                f"{self.root} has no {split} split: {place} does not exist. "
                "Copy or make it."
            )
        rows = {}
        numbers = range(1, self.num_spks + 1)
        kinds = [self.kind, *map(self.layout.source.format, numbers)]
        for folder in self.folders[split]:
            mixture, *sources = (self.place(folder, kind) for kind in kinds)
            found = self.layout.read(mixture, sources)
            for name, row in self._listed_rows(found, folder).items():
                if name in rows:
                    raise UserError(
                        f"{row[0]} and {rows[name][0]} have the same name. "
                        f"Rename one, or set --train_folder={folder}."
                    )
                rows[name] = row
        return dict(sorted(rows.items()))

    def _listed_rows(self, rows, folder):
        """Those rows that metadata list; all where there are no metadata."""
        listing, mixture = self.listed(folder), self.place(folder, self.kind)
        if not listing:
            return rows
        for name, listed in listing.items():
            if name not in rows:
                raise UserError(
                    f"{mixture / name}.wav is missing: {listed.where}, lists "
                    "it. Copy or make it again, or remove the line."
                )
        if len(rows) > len(listing):
            logger.warning(
                "%s has %d files that its metadata do not list: they are left "
                "out.",
                *(mixture, len(rows) - len(listing)),
            )
        return {name: rows[name] for name in listing}

    def listing(self, split):
        """What metadata say of a split, `{ID: Listed}`; {} without any."""
        listing = {}
        for folder in self.folders[split]:
            listing |= self.listed(folder)
        return listing

    def listed(self, folder):
        """What metadata say of a folder of a split, as `listing`."""
        name = self.layout.metadata.format(split=folder, kind=self.kind)
        path = self.root / name
        return _read_metadata(path) if path.is_file() else {}

    def __str__(self):
        splits = "; ".join(
            f"{split}: {join_and(names)}"
            for split, names in self.folders.items()
            if names
        )
        return f"{self.layout.name}, {self.root}, {self.kind} ({splits})"


class Listed(typing.NamedTuple):
    """What metadata say about a mixture."""

    length: int  # samples
    where: str  # file and line


def _read_metadata(path):
    """LibriMix's list of the mixtures of a folder, `{ID: Listed}`."""
    # Its paths are those of the machine that made the data.
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"Cannot read {path}: {error}. Replace it.") from error
    for column in ("mixture_ID", "length"):
        if column not in (reader.fieldnames or ()):
            raise UserError(
                f"{path} has no column {column}. Replace or remove the file."
            )
    if not rows:
        raise UserError(f"{path} lists no mixtures. Replace or remove it.")
    listed = {}
    for line, row in rows:
        name, where = row["mixture_ID"], f"{path}, line {line}"
        if name in listed:
            raise UserError(f"{where}, lists {name} again. Remove the line.")
        try:
            # Some versions of pandas write whole numbers as 32080.0.
            listed[name] = Listed(int(float(row["length"])), where)
        except (TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"{where}: the length is {row['length']!r}, not a number of "
                "samples. Correct it or remove the file."
            ) from error
    return listed


def find_data_sets(data_folder):
    """Find all data sets of mixtures in a folder: a `DataSet` for each rate,
    mode and type of mixture.
    """
    data_folder = pathlib.Path(os.path.abspath(data_folder))
    found = {}
    for layout in LAYOUTS:
        for root, rate, mode in layout.roots(data_folder):
            for mixture_type, kind in layout.mixtures.items():
                folders = layout.folders(root, kind)
                if any(folders.values()):
                    count = layout.count_speakers(root, folders)
                    data_set = DataSet(
                        *(layout, root, rate, mode),
                        *(mixture_type, count, folders),
                    )
                    # Of layouts that share folders, the first fits best.
                    found.setdefault((root, mixture_type), data_set)
    return list(found.values())


def choose_data_set(
    data_folder, sample_rate, mode, mixture_type, num_spks, train_folder=""
):
    """Choose the data set that training asks for: by rate (Hz), mode and type,
    by the welcome numbers of speakers, least first, and by the folder of
    training mixtures, "" for all. Its test split is the validation split if it
    has no other and its layout need not have one.

    Raises
    ------
    UserError
        When the folder has no such data set; it says what is there.
    """
    data_folder = pathlib.Path(os.path.abspath(data_folder))
    if mixture_type not in ("clean", "both"):
        raise UserError(
            f"mixture_type is {mixture_type!r}; it must be clean or both."
        )
    if not data_folder.is_dir():
        raise UserError(f"{data_folder} is not a folder. Set --data_folder.")
    found = find_data_sets(data_folder)
    if not found:
        raise UserError(_nothing_found(data_folder))
    of_rate = [
        each
        for each in found
        if each.rate in (None, sample_rate) and each.mode in (None, mode)
    ]
    if not of_rate:
        there = {
            each.layout.format_root(each.rate, each.mode) for each in found
        }
        raise UserError(
            f"{data_folder} has no "
            f"{found[0].layout.format_root(sample_rate, mode)}, but "
            f"{join_and(sorted(there))}. Set --sample_rate and --mixture_mode "
            "to what is there."
        )
    found = [each for each in of_rate if each.mixture_type == mixture_type]
    if not found:
        other = of_rate[0]
        raise UserError(
            f"mixture_type is {mixture_type}, but {other.root} has only "
            f"{other.kind}. Set --mixture_type={other.mixture_type}."
        )
    found = _of_speakers(found, num_spks)
    if len(found) > 1:
        raise UserError(
            f"{data_folder} has several data sets: {join_and(found)}. Set "
            "--data_folder to the folder of one, or move the others."
        )
    (data_set,) = found
    folders = dict(data_set.folders)
    if train_folder:
        if train_folder not in folders["train"]:
            there = join_and(folders["train"]) or "no training mixtures"
            raise UserError(
                f"train_folder is {train_folder!r}, but {data_set.root} has "
                f"{there}. Set --train_folder to what is there, or leave it "
                "empty."
            )
        folders["train"] = (train_folder,)
    if not folders["test"] and "test" in data_set.layout.optional:
        logger.warning(
            "%s has no test split: %s, which also chooses the best checkpoint, "
            "is used for testing too. The test scores are optimistic.",
            *(data_set.root, join_and(folders["valid"])),
        )
        folders["test"] = folders["valid"]
    return dataclasses.replace(data_set, folders=folders)


def _nothing_found(data_folder):
    """Say what was looked for, and where it may be."""
    names = sorted(path.name for path in data_folder.iterdir())
    for name in names:
        inside = data_folder / name
        if name[0] != "." and inside.is_dir() and find_data_sets(inside):
            return (
                f"{data_folder} has no mixtures itself, but its folder {name} "
                f"has. Set --data_folder={inside}."
            )
    return (
        f"{data_folder} has no mixtures in a layout known here. Looked for "
        f"{' or '.join(map(str, LAYOUTS))}; "
        f"found {', '.join(names[:5]) or 'an empty folder'}."
    )


def _of_speakers(found, num_spks):
    """The data sets of a number of speakers."""
    chosen = [each for each in found if each.num_spks in num_spks]
    if not chosen:
        other = found[0]
        folder = next(names[0] for names in other.folders.values() if names)
        mixture = other.place(folder, other.kind)
        if other.num_spks == 0:
            source = other.place(folder, other.layout.source.format(1))
            raise UserError(
                f"{source} is missing: {mixture} needs the sources. Copy or "
                "make them again."
            )
        raise UserError(
            f"{mixture} has sources of {other.num_spks} speakers, but num_spks "
            f"is {num_spks[-1]}. Set --num_spks={other.num_spks} or choose other "
            "data."
        )
    return chosen


def join_and(items):
    """The items as a phrase, `a and b and c`."""
    return " and ".join(map(str, items))
