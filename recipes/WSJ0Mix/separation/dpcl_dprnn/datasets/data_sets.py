"""A data set of mixtures: where its files are, and what belongs to it."""

import dataclasses
import logging
import pathlib

from ..common.errors import UserError
from .layout_table import Layout
from .mixture_files import read_metadata

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DataSet:
    """One variant of the mixtures in a data folder.

    Arguments
    ---------
    layout : str
        The layout's name.
    root : pathlib.Path
        The folder that holds the splits.
    rate : int or None
        Sampling rate in Hz after the folder's name, if that has one.
    mode : str or None
        `min` or `max` after the folder's name, if that has one.
    mixture_type : str
        `clean`, or `both` with noise too.
    num_spks : int
        Speakers in each mixture.
    folders : dict
        The folders of train, valid and test; () where there is none.
    scheme : Layout
        How the files are named.
    """

    layout: str
    root: pathlib.Path
    rate: int | None
    mode: str | None
    mixture_type: str
    num_spks: int
    folders: dict
    scheme: Layout = dataclasses.field(repr=False)

    @property
    def kind(self):
        """The name of the mixtures' folder."""
        return self.scheme.mixtures[self.mixture_type]

    def place(self, folder, kind):
        """Where a folder of a split has a kind of file."""
        return self.root / self.scheme.place.format(split=folder, kind=kind)

    def rows(self, split):
        """List the mixtures of a split with their sources.

        Arguments
        ---------
        split : str
            `train`, `valid` or `test`.

        Returns
        -------
        dict
            `{ID: [mixture, source 1, source 2, ...]}`, sorted. Where there
            are metadata, they say which mixtures belong to the split.

        Raises
        ------
        UserError
            When the split is missing or empty, lacks a file, or has two
            mixtures of one name.
        """
        rows = {}
        numbers = range(1, self.num_spks + 1)
        for folder in self.folders[split] or self.scheme.splits[split][:1]:
            mixture = self.place(folder, self.kind)
            kinds = [self.scheme.source.format(number) for number in numbers]
            sources = [self.place(folder, kind) for kind in kinds]
            found = self.scheme.read(mixture, sources)
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
        path = self._metadata(folder)
        if path is None:
            return rows
        listing, mixture = read_metadata(path), self.place(folder, self.kind)
        for name, listed in listing.items():
            if name not in rows:
                raise UserError(
                    f"{mixture / name}.wav is missing: {listed.where}, lists "
                    "it. Copy or make it again, or remove the line."
                )
        if len(rows) > len(listing):
            extra = len(rows) - len(listing)
            logger.warning(
                "%s has %d files that %s does not list: they are left out.",
                *(mixture, extra, path),
            )
        return {name: rows[name] for name in listing}

    def listing(self, split):
        """What metadata say of a split, `{ID: Listed}`; {} without any."""
        listing = {}
        for folder in self.folders[split]:
            path = self._metadata(folder)
            listing |= read_metadata(path) if path else {}
        return listing

    def _metadata(self, folder):
        """The CSV file that lists the mixtures of a folder, or None."""
        name = self.scheme.metadata.format(split=folder, kind=self.kind)
        path = self.root / name
        return path if path.is_file() else None

    def __str__(self):
        splits = "; ".join(
            f"{split}: {join_and(names)}"
            for split, names in self.folders.items()
            if names
        )
        return f"{self.layout}, {self.root}, {self.kind} ({splits})"


def join_and(items):
    """The items as a phrase, `a and b and c`."""
    return " and ".join(map(str, items))
