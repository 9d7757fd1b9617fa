"""WSJ0 as users have it, and MERL's tables: lists of mixtures, and levels.

MERL's lists name an utterance `wsj0/si_tr_s/01t/01to030v.wav`; on the discs
of the LDC it is a file like `11-1.1/WSJ0/SI_TR_S/01T/01TO030V.WV1`. What the
two have in common is the key, `si_tr_s/01t/01to030v`.
"""

import math
import os
import pathlib
import typing

from ..common.errors import UserError, few
from ..common.files import pass_over, walk
from .lists import read_lines, read_list

# Best first: a converted file may come from the wrong microphone.
KINDS = ("wv1", "sph", "flac", "wav")
SECOND_MICROPHONE = "wv2"
LEVELS = [f"activlev_si_{name}.txt" for name in ("tr_s", "dt_05", "et_05")]


class MixtureList(typing.NamedTuple):
    """The mixtures of a split; each stands on a line of the file."""

    path: pathlib.Path
    mixtures: list  # of lists.read_list


def utterance_key(path):
    """What identifies an utterance: folder, speaker and name, lower case.

    Example
    -------
    >>> utterance_key("wsj0/si_tr_s/01t/01to030v.wav")
    'si_tr_s/01t/01to030v'
    >>> utterance_key("/cd/11-1.1/WSJ0/SI_TR_S/01T/01TO030V.WV1")
    'si_tr_s/01t/01to030v'
    """
    *folders, name = str(path).lower().rsplit("/", 3)[-3:]
    return "/".join([*folders, name.rpartition(".")[0] or name])


def find_files(wsj0, on_error=pass_over):
    """Find all files of the utterances below a folder above or at `si_tr_s`,
    `si_dt_05`, `si_et_05`, in whatever nesting of discs:
    `{"si_tr_s/01t/01to030v": {"wv1": path, "wv2": path}, ...}`, see
    `utterance_key`; of one kind, the first path. Linked folders are followed,
    and names may be upper or lower case. `on_error` gets the `OSError` of each
    folder that cannot be read; `UserError` where there is no folder `wsj0`.
    """
    if not os.path.isdir(wsj0):
        raise UserError(f"{wsj0} is not a folder. Give the folder of WSJ0.")
    found = {}
    for path in walk(os.path.abspath(wsj0), on_error):
        kind = path.rpartition(".")[2].lower()
        if kind in (*KINDS, SECOND_MICROPHONE):
            files = found.setdefault(utterance_key(path), {})
            files[kind] = min(files.get(kind, path), path)
    return found


def locate(lists, wsj0):
    """Find the file of each utterance of `read_lists`, of several that of the
    best kind: `{"wsj0/si_tr_s/01t/01to030v.wav": path, ...}`.

    Raises
    ------
    UserError
        When utterances are missing, or there from the second microphone only.
    """
    index = find_files(wsj0)
    best = {
        key: next((files[kind] for kind in KINDS if kind in files), None)
        for key, files in index.items()
    }
    found, missing, first = _look_up(lists, best, utterance_key)
    if missing:
        seconds = index.keys() & map(utterance_key, missing)
        hint = "Give the folder that holds all of WSJ0."
        if seconds:
            hint = (
                f"{len(seconds)} of them are there as .wv2 only, the second "
                "microphone: .wv1 is needed. Copy the .wv1 files too."
            )
        raise UserError(
            f"{wsj0} lacks {len(missing)} of the {len(found) + len(missing)} "
            f"utterances of the lists: {few(missing)} (first in {first}). "
            f"{hint}"
        )
    return found


def read_lists(folder, n_spks=2, splits=("tr", "cv", "tt")):
    """Read the lists of mixtures, `mix_<n_spks>_spk_<split>.txt`, in a folder
    or in a folder of that one: `{split: MixtureList}`.

    Raises
    ------
    UserError
        When a list is missing, empty or broken.
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
        lists[split] = MixtureList(path, mixtures)
    return lists


def read_levels(folder):
    """Read MERL's active speech levels, `activlev_si_tr_s.txt` and so on or
    some of them, in a folder or in a folder of that one: powers, relative to a
    full scale of 1, `{"20va010q": 2.57e-4, ...}`.

    Raises
    ------
    UserError
        When none is there, or a line is not `utterance level`.
    """
    paths = [_find_file(folder, name) for name in LEVELS]
    levels = {}
    for path in filter(None, paths):
        for number, line in enumerate(read_lines(path), 1):
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
    """What `read_levels` has for each utterance of `read_lists`, by the path
    there; `UserError` when it lacks one.
    """
    found, missing, first = _look_up(
        lists, levels, lambda path: pathlib.PurePath(path).stem.lower()
    )
    if missing:
        raise UserError(
            f"The tables of levels lack {len(missing)} utterances of the "
            f"lists: {few(missing)} (first in {first}). Add them, or leave "
            "out --levels to have levels measured."
        )
    return found


def _look_up(lists, table, key):
    """What a table has for each utterance of the lists, by `key` of its path;
    the paths that it lacks, and file and line of the first of these.
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
    if (folder / name).is_file():
        return folder / name
    found = sorted(path for path in folder.glob(f"*/{name}") if path.is_file())
    if len(found) > 1:
        raise UserError(
            f"{folder} has {found[0]} and {found[1]}. Give one of the folders."
        )
    return found[0] if found else None
