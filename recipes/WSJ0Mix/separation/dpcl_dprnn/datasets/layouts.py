"""The table of layouts: how data sets of mixtures name their files.

A new layout is a row of `LAYOUTS`.
"""

import collections.abc
import dataclasses
import itertools
import os
import re

from ..common.errors import UserError
from ..sound.audio import SOUND_SUFFIXES

SPLITS = ("train", "valid", "test")


def list_sounds(folder):
    """The names of the files in a folder, which may be missing: sound files,
    `{stem: name}`, sorted; those whose names differ from one of these in the
    suffix only; and hidden and other files.
    """
    sounds, twins, others = {}, [], []
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        stem, suffix = os.path.splitext(name)
        if name[0] == "." or suffix.lower() not in SOUND_SUFFIXES:
            others.append(name)
        elif stem in sounds:
            twins.append(name)
        else:
            sounds[stem] = name
    return sounds, twins, others


def folder_rows(mixture, sources):
    """The rows of folders whose files have the same names."""
    rows = {name: [path] for name, path in _sound_files(mixture).items()}
    for folder in sources:
        files = _sound_files(folder)
        for name, row in rows.items():
            if name not in files:
                raise UserError(
                    f"{folder / row[0].name} is missing: {row[0]} needs it. "
                    "Copy or make it again."
                )
            row.append(files[name])
    return rows


def _sound_files(folder):
    """`{stem: path}` of a folder that has some, no two of one stem."""
    sounds, twins, _ = list_sounds(folder)
    if twins:
        first = sounds[os.path.splitext(twins[0])[0]]
        raise UserError(
            f"{folder / twins[0]} and {first} have the same name. Remove one."
        )
    if not sounds:
        raise UserError(f"{folder} has no WAV or FLAC files. Add them.")
    return {stem: folder / name for stem, name in sounds.items()}


def each_rows(mixture, sources):
    """The rows of folders that each hold a mixture and its sources; the places
    are patterns of such files.
    """
    rows = {}
    for folder in sorted(mixture.parents[1].glob("[!.]*")):
        if not folder.is_dir():
            continue
        sounds, twins, _ = list_sounds(folder)
        row = rows[folder.name] = []
        for stem in (mixture.stem, *(source.stem for source in sources)):
            if stem not in sounds:
                raise UserError(
                    f"{folder / stem}.wav is missing. Copy or make it again."
                )
            if any(os.path.splitext(twin)[0] == stem for twin in twins):
                raise UserError(f"{folder} has two files {stem}. Remove one.")
            row.append(folder / sounds[stem])
    return rows


def scp_rows(mixture, sources):
    """The rows of lists as Kaldi writes them: `name path` on each line.

    A path may hold spaces, and is relative to the folder of its list if it is
    not absolute. A name that ends like a sound file is taken without that.
    """
    mixtures = _read_scp(mixture)
    rows = {name: [path] for name, (path, _) in mixtures.items()}
    for source in sources:
        entries = _read_scp(source)
        for name, (_, line) in mixtures.items():
            if name not in entries:
                raise UserError(
                    f"{source} has no {name}, but {mixture.name}, line "
                    f"{line}, has. Give both lists the same names."
                )
        for name, (path, line) in entries.items():
            if name not in rows:
                raise UserError(
                    f"{source}, line {line}, has {name}, but {mixture.name} "
                    "has not. Give both lists the same names."
                )
            rows[name].append(path)
    return rows


def _read_scp(path):
    """`{name: (path, number of the line)}` of a list, in its order."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(
            f"Cannot read {path}: {error.strerror}. Add the list."
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}.") from error
    entries = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        name, *rest = line.split(maxsplit=1)
        if not rest:
            raise UserError(f"{where}, is not 'name path'. Correct it.")
        if line.rstrip().endswith("|"):
            raise UserError(
                f"{where}, names a command. Write what it puts out to a file "
                "and name that."
            )
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in SOUND_SUFFIXES:
            name = stem
        if name in entries:
            raise UserError(
                f"{where}, has {name} again, after line {entries[name][1]}. "
                "Remove one of them."
            )
        file = path.parent / rest[0].rstrip()
        if not file.is_file():
            raise UserError(
                f"{where}: there is no file {file}. Correct the path or copy "
                "the file there."
            )
        entries[name] = file, number
    if not entries:
        raise UserError(f"{path} lists no files. Write it again.")
    return entries


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a data set keeps its files.

    Example
    -------
    >>> print(LAYOUTS[0])
    wav8k/min/{tr,cv,tt}/{mix,s1,s2}
    """

    name: str  # what the layout is called
    root: str  # folder below the data folder, with {rate} (kHz) and {mode}
    splits: dict  # the folders that train, valid and test may have, by split
    mixtures: dict  # their folder, by type: clean, or both with noise too
    source: str = "s{}"  # the folder of the sources, {} is the speaker
    # Where, below the root, a split has a kind of file: a folder or a list, or
    # a pattern of the files
    place: str = "{split}/{kind}"
    # From the places of the mixtures and of each source to
    # {ID: [mixture, source 1, ...]}; UserError when they do not fit together
    read: collections.abc.Callable = folder_rows
    metadata: str = ""  # CSV file that lists the mixtures of a split, if any
    optional: tuple = ()  # the splits that the layout may lack

    def roots(self, data_folder):
        """The folders that may hold the splits, `[(root, rate, mode)]`: in the
        data folder, or that itself or a folder in between.
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
                if any(root.glob(self.place.format(split=name, kind=kind)))
            )
            for split, names in self.splits.items()
        }

    def count_speakers(self, root, folders):
        """The most speakers that one of the splits' folders has sources of."""
        names = [name for each in folders.values() for name in each]
        for count in itertools.count():
            kind = self.source.format(count + 1)
            places = [self.place.format(split=n, kind=kind) for n in names]
            if not any(any(root.glob(place)) for place in places):
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


ROOT = "wav{rate}k/{mode}"
WSJ0_SPLITS = _splits("tr", "cv", "tt")
LIBRI_SPLITS = _splits("train-100 train-360", "dev", "test")
CLEAN_AND_BOTH = {"clean": "mix_clean", "both": "mix_both"}
METADATA = "metadata/mixture_{split}_{kind}.csv"

LAYOUTS = (
    Layout("wsj0-mix", ROOT, WSJ0_SPLITS, {"clean": "mix"}),
    Layout("WHAM!", ROOT, WSJ0_SPLITS, CLEAN_AND_BOTH),
    Layout(
        "WHAMR! anechoic",
        ROOT,
        WSJ0_SPLITS,
        {"clean": "mix_clean_anechoic", "both": "mix_both_anechoic"},
        source="s{}_anechoic",
    ),
    Layout("LibriMix", ROOT, LIBRI_SPLITS, CLEAN_AND_BOTH, metadata=METADATA),
    Layout(
        "MiniLibriMix",
        "",
        _splits("train", "val", "test"),
        CLEAN_AND_BOTH,
        metadata=METADATA,
        optional=("test",),
    ),
    Layout(
        "custom", "", _splits(*SPLITS), {"clean": "mixture"}, source="source{}"
    ),
    Layout(
        "a folder for each mixture",
        "",
        _splits("train tr", "valid val dev cv", "test tt"),
        {"clean": "mixture"},
        place="{split}/*/{kind}.*",
        read=each_rows,
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
