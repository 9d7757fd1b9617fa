"""The sound files of a split in folders, and LibriMix's lists of them."""

import csv
import typing

from ..common.audio import SOUND_SUFFIXES
from ..common.errors import UserError


def folder_rows(mixture, sources):
    """List the mixtures of a split with their sources.

    Arguments
    ---------
    mixture : pathlib.Path
        The folder of the mixtures.
    sources : list of pathlib.Path
        The folder of each source, with files of the same names.

    Returns
    -------
    dict
        `{ID: [mixture, source 1, source 2, ...]}`, sorted.

    Raises
    ------
    UserError
        When a folder is missing or empty, or lacks a source.
    """
    rows = {name: [path] for name, path in sound_files(mixture).items()}
    for folder in sources:
        files = sound_files(folder)
        for name, row in rows.items():
            if name not in files:
                raise UserError(
                    f"{folder / row[0].name} is missing: {row[0]} needs it. "
                    "Copy or make it again."
                )
            row.append(files[name])
    return rows


def sound_files(folder):
    """The sound files of a folder, `{stem: path}`, sorted."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() in SOUND_SUFFIXES and path.name[0] != ".":
            if path.stem in found:
                raise UserError(
                    f"{path} and {found[path.stem].name} have the same name. "
                    "Remove one."
                )
            found[path.stem] = path
    if not found:
        raise UserError(f"{folder} has no WAV or FLAC files. Add them.")
    return dict(sorted(found.items()))


class Listed(typing.NamedTuple):
    """What metadata say about a mixture."""

    length: int  # samples
    where: str  # file and line


def read_metadata(path):
    """Read LibriMix's metadata of the mixtures of a split.

    Its paths are those of the machine that made the data; hence only the
    columns `mixture_ID` and `length` are read.

    Arguments
    ---------
    path : pathlib.Path
        A CSV file.

    Returns
    -------
    dict
        `{ID: Listed}`, in the order of the file.

    Raises
    ------
    UserError
        When the file cannot be read, lacks a column or all lines, or has a
        line without a length or with the ID of an earlier one.
    """
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
