"""MERL's tables for wsj0-mix: lists of mixtures, and active speech levels."""

import math
import pathlib
import typing

from ..common.errors import UserError, few
from .lists import mixture_name, read_list

SPLITS = ("tr", "cv", "tt")
LEVELS = tuple(
    f"activlev_{name}.txt" for name in ("si_tr_s", "si_dt_05", "si_et_05")
)


class MixtureList(typing.NamedTuple):
    """The mixtures of a split; each stands on a line of the file."""

    path: pathlib.Path
    mixtures: list  # of mixture_lists.read_list


def read_lists(folder, n_spks=2, splits=SPLITS):
    """Read the lists of mixtures, `mix_<n_spks>_spk_<split>.txt`.

    Arguments
    ---------
    folder : str or Path
        Folder with the lists, or the folder above it.
    n_spks : int
        Speakers in each mixture.
    splits : tuple
        Some of `tr`, `cv`, `tt`.

    Returns
    -------
    dict
        `{split: MixtureList}`.

    Raises
    ------
    UserError
        When a list is missing, empty or broken, or has two mixtures of one
        name.
    """
    lists = {}
    for split in splits:
        name = f"mix_{n_spks}_spk_{split}.txt"
        path = _find_file(folder, name)
        if path is None:
            raise UserError(
                f"{folder} has no {name}, nor has a folder in it. Unpack "
                "MERL's create-speaker-mixtures.zip there."
            )
        mixtures = read_list(path, n_spks)
        if not mixtures:
            raise UserError(f"The list {path} is empty. Copy it again.")
        lines = {}
        for number, mixture in enumerate(mixtures, 1):
            first = lines.setdefault(mixture_name(mixture), number)
            if first != number:
                raise UserError(
                    f"{path}, line {number}, names the same mixture as line "
                    f"{first}. Remove one."
                )
        lists[split] = MixtureList(path, mixtures)
    return lists


def read_levels(folder):
    """Read MERL's tables of active speech levels.

    Arguments
    ---------
    folder : str or Path
        Folder with `activlev_si_tr_s.txt`, `activlev_si_dt_05.txt` and
        `activlev_si_et_05.txt`, or with some of them, or the folder above.

    Returns
    -------
    dict
        `{"20va010q": 2.57e-4, ...}`: power, relative to a full scale of 1.

    Raises
    ------
    UserError
        When none is there, or a line is not `utterance level`.
    """
    paths = [_find_file(folder, name) for name in LEVELS]
    levels = {}
    for path in filter(None, paths):
        for number, line in enumerate(_read_lines(path), 1):
            try:
                utterance, text = line.split()
                level = float(text)
            except ValueError:
                level = math.nan
            if not 0 < level < math.inf:
                raise UserError(
                    f"{path}, line {number}, is not 'utterance level' with a "
                    "level above 0. Copy the table again."
                )
            levels[utterance.lower()] = level
    if not levels:
        raise UserError(
            f"{folder} has no levels in {', '.join(LEVELS)}. Copy these "
            "tables there, or leave out --levels to have levels measured."
        )
    return levels


def look_up_levels(lists, levels):
    """Find the level of each utterance that the lists name.

    Arguments
    ---------
    lists : dict
        Of `read_lists`.
    levels : dict
        Of `read_levels`.

    Returns
    -------
    dict
        `{"wsj0/si_tr_s/01t/01to030v.wav": level, ...}`.

    Raises
    ------
    UserError
        When an utterance has no level.
    """
    found, missing, first = look_up(
        lists, levels, lambda path: pathlib.PurePath(path).stem.lower()
    )
    if missing:
        raise UserError(
            f"The tables of levels lack {len(missing)} utterances of the "
            f"lists: {few(missing)} (first in {first}). Add them, or leave "
            "out --levels to have levels measured."
        )
    return found


def look_up(lists, table, key):
    """Find what a table has for each utterance that the lists name.

    Arguments
    ---------
    lists : dict
        Of `read_lists`.
    table : dict
        Anything but None, by key.
    key : callable
        From the utterance's path in a list to its key in the table.

    Returns
    -------
    found : dict
        `{path in the list: what the table has}`.
    missing : list
        Paths that the table lacks.
    first : str
        File and line of the first of these.
    """
    found, missing, first = {}, {}, None
    for path, mixtures in lists.values():
        for number, mixture in enumerate(mixtures, 1):
            for utterance, _ in mixture:
                value = table.get(key(utterance))
                if value is not None:
                    found[utterance] = value
                    continue
                first = first or f"{path}, line {number}"
                missing[utterance] = None
    return found, list(missing), first


def _find_file(folder, name):
    """A file in a folder or in a folder of that one, or None."""
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Give one that is there.")
    found = sorted(path for path in folder.glob(f"*/{name}") if path.is_file())
    if (folder / name).is_file():
        return folder / name
    if len(found) > 1:
        raise UserError(
            f"{folder} has {found[0]} and {found[1]}. Give one of the folders."
        )
    return found[0] if found else None


def _read_lines(path):
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {path}: {error}.") from error
