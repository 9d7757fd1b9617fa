"""The table of layouts: how data sets of mixtures name their files.

A new layout is a row of `LAYOUTS`.
"""

import collections.abc
import dataclasses
import itertools
import re

from .mixture_files import folder_rows
from .scp_lists import scp_rows

SPLITS = ("train", "valid", "test")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a data set keeps its files.

    Arguments
    ---------
    name : str
        What the layout is called.
    root : str
        Folder below the data folder, with `{rate}` (kHz) and `{mode}`.
    splits : dict
        The folders that train, valid and test may have, by split.
    mixtures : dict
        The mixtures' folder, by type: `clean`, or `both` with noise too.
    source : str
        The folder of the sources, with `{}` for the number of the speaker.
    place : str
        Where, below the root, a `{split}` has a `{kind}` of file: a folder
        or a list.
    read : callable
        From the places of the mixtures and of each source to
        `{ID: [mixture, source 1, ...]}`.
    metadata : str
        CSV file that lists the mixtures of a `{kind}` in a `{split}`, or "".
    optional : tuple
        The splits that the layout may lack.

    Example
    -------
    >>> print(LAYOUTS[0])
    wav8k/min/{tr,cv,tt}/{mix,s1,s2}
    """

    name: str
    root: str
    splits: dict
    mixtures: dict
    source: str = "s{}"
    place: str = "{split}/{kind}"
    read: collections.abc.Callable = folder_rows
    metadata: str = ""
    optional: tuple = ()

    def roots(self, data_folder):
        """The folders that may hold the splits, `[(root, rate, mode)]`.

        They lie in the data folder; or that is one of them itself, or a
        folder in between.
        """
        if not self.root:
            return [(data_folder, None, None)]
        parts = self.root.format(rate="*", mode="*").split("/")
        found = set(data_folder.glob("/".join(parts)))
        for depth in range(1, len(parts)):
            if data_folder.match("/".join(parts[:depth])):
                found |= set(data_folder.glob("/".join(parts[depth:])))
        if data_folder.match("/".join(parts)):
            found.add(data_folder)
        pattern = self.root.format(rate=r"(?P<rate>\d+\.?\d*)", mode="(.+)")
        matches = {
            root: re.fullmatch(pattern, "/".join(root.parts[-len(parts) :]))
            for root in sorted(found)
        }
        return [
            (root, round(float(match["rate"]) * 1000), root.name)
            for root, match in matches.items()
            if match
        ]

    def format_root(self, rate, mode):
        """The root of a sampling rate in Hz and a mode."""
        return self.root.format(rate=f"{rate / 1000:g}", mode=mode)

    def folders(self, root, kind):
        """The folders that have a kind of file, by split."""
        return {
            split: tuple(
                name
                for name in names
                if (root / self.place.format(split=name, kind=kind)).exists()
            )
            for split, names in self.splits.items()
        }

    def count_speakers(self, root, folders):
        """The most speakers that one of the splits' folders has sources of."""
        names = [name for each in folders.values() for name in each]
        for count in itertools.count():
            kind = self.source.format(count + 1)
            places = [self.place.format(split=n, kind=kind) for n in names]
            if not any((root / place).exists() for place in places):
                return count

    def __str__(self):
        root = f"{self.format_root(8000, 'min')}/" if self.root else ""
        splits = [name for names in self.splits.values() for name in names]
        kinds = [*self.mixtures.values(), *map(self.source.format, (1, 2))]
        place = self.place.format(
            split=f"{{{','.join(splits)}}}", kind=f"{{{','.join(kinds)}}}"
        )
        return root + place


def _splits(train, valid, test):
    return {
        split: tuple(names.split())
        for split, names in zip(SPLITS, (train, valid, test), strict=True)
    }


WSJ0_SPLITS = _splits("tr", "cv", "tt")
CLEAN_AND_BOTH = {"clean": "mix_clean", "both": "mix_both"}
METADATA = "metadata/mixture_{split}_{kind}.csv"

LAYOUTS = (
    Layout("wsj0-mix", "wav{rate}k/{mode}", WSJ0_SPLITS, {"clean": "mix"}),
    Layout("WHAM!", "wav{rate}k/{mode}", WSJ0_SPLITS, CLEAN_AND_BOTH),
    Layout(
        "WHAMR! anechoic",
        "wav{rate}k/{mode}",
        WSJ0_SPLITS,
        {"clean": "mix_clean_anechoic", "both": "mix_both_anechoic"},
        source="s{}_anechoic",
    ),
    Layout(
        "LibriMix",
        "wav{rate}k/{mode}",
        _splits("train-100 train-360", "dev", "test"),
        CLEAN_AND_BOTH,
        metadata=METADATA,
    ),
    Layout(
        "MiniLibriMix",
        "",
        _splits("train", "val", "test"),
        CLEAN_AND_BOTH,
        metadata=METADATA,
        optional=("test",),
    ),
    Layout(
        "custom",
        "",
        _splits(*SPLITS),
        {"clean": "mixture"},
        source="source{}",
    ),
    Layout(
        "scp lists",
        "",
        WSJ0_SPLITS,
        {"clean": "mix"},
        place="{split}_{kind}.scp",
        read=scp_rows,
    ),
    Layout(
        "scp lists",
        "",
        WSJ0_SPLITS,
        {"clean": "mix"},
        source="spk{}",
        place="{split}/{kind}.scp",
        read=scp_rows,
    ),
)
