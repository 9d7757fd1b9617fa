"""Which data sets of mixtures a folder holds, and the one to train on.

They are recognised by what the folder holds, never by its name.
"""

import dataclasses
import logging
import os
import pathlib

from ..common.errors import UserError
from .data_sets import DataSet, join_and
from .layout_table import LAYOUTS, SPLITS

__all__ = ["SPLITS", "DataSet", "choose_data_set", "find_data_sets"]

logger = logging.getLogger(__name__)

MIXTURE_TYPES = ("clean", "both")


def find_data_sets(data_folder):
    """Find all data sets of mixtures in a folder.

    Arguments
    ---------
    data_folder : str or Path
        The folder.

    Returns
    -------
    list of DataSet
        One for each rate, mode and type of mixture; [] if there is none.
    """
    data_folder = pathlib.Path(os.path.abspath(data_folder))
    found = {}
    for scheme in LAYOUTS:
        for root, rate, mode in scheme.roots(data_folder):
            for mixture_type, kind in scheme.mixtures.items():
                folders = scheme.folders(root, kind)
                if any(folders.values()):
                    data_set = DataSet(
                        layout=scheme.name,
                        root=root,
                        rate=rate,
                        mode=mode,
                        mixture_type=mixture_type,
                        num_spks=scheme.count_speakers(root, folders),
                        folders=folders,
                        scheme=scheme,
                    )
                    # Of layouts that share folders, the first fits best.
                    found.setdefault((root, mixture_type), data_set)
    return list(found.values())


def choose_data_set(
    data_folder, sample_rate, mode, mixture_type, num_spks, train_folder=""
):
    """Choose the data set that training asks for.

    Arguments
    ---------
    data_folder : str or Path
        The folder, see `find_data_sets`.
    sample_rate : int
        Sampling rate in Hz, for layouts whose folders are named after it.
    mode : str
        `min` or `max`, likewise.
    mixture_type : str
        `clean` or `both`.
    num_spks : int or range
        Speakers in each mixture; or the numbers that are welcome.
    train_folder : str
        One of the folders of training mixtures, or "" for all.

    Returns
    -------
    DataSet
        Its test split is the validation split if it has no other and its
        layout need not have one.

    Raises
    ------
    UserError
        When the folder has no such data set; it says what is there.
    """
    data_folder = pathlib.Path(os.path.abspath(data_folder))
    if mixture_type not in MIXTURE_TYPES:
        raise UserError(
            f"mixture_type is {mixture_type!r}; it must be clean or both."
        )
    if not data_folder.is_dir():
        raise UserError(f"{data_folder} is not a folder. Set --data_folder.")
    found = find_data_sets(data_folder)
    if not found:
        raise UserError(_nothing_found(data_folder))
    found = _of_rate(found, data_folder, sample_rate, mode)
    found = _of_type(found, mixture_type)
    found = _of_speakers(found, num_spks)
    if len(found) > 1:
        raise UserError(
            f"{data_folder} has several data sets: {join_and(found)}. Set "
            "--data_folder to the folder of one, or move the others."
        )
    return _with_test(_of_train_folder(found[0], train_folder))


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


def _of_rate(found, data_folder, sample_rate, mode):
    """The data sets of a sampling rate and mode."""
    chosen = [
        data_set
        for data_set in found
        if data_set.rate in (None, sample_rate)
        and data_set.mode in (None, mode)
    ]
    if not chosen:
        there = {
            each.scheme.format_root(each.rate, each.mode) for each in found
        }
        raise UserError(
            f"{data_folder} has no "
            f"{found[0].scheme.format_root(sample_rate, mode)}, but "
            f"{join_and(sorted(there))}. Set --sample_rate and --mixture_mode "
            "to what is there."
        )
    return chosen


def _of_type(found, mixture_type):
    """The data sets of a type of mixture."""
    chosen = [each for each in found if each.mixture_type == mixture_type]
    if not chosen:
        other = found[0]
        raise UserError(
            f"mixture_type is {mixture_type}, but {other.root} has only "
            f"{other.kind}. Set --mixture_type={other.mixture_type}."
        )
    return chosen


def _of_speakers(found, num_spks):
    """The data sets of a number of speakers."""
    if isinstance(num_spks, int):
        num_spks = range(num_spks, num_spks + 1)
    chosen = [each for each in found if each.num_spks in num_spks]
    if not chosen:
        other = found[0]
        folder = next(names[0] for names in other.folders.values() if names)
        mixture = other.place(folder, other.kind)
        if other.num_spks == 0:
            source = other.place(folder, other.scheme.source.format(1))
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


def _of_train_folder(data_set, train_folder):
    """The same with one folder of training mixtures, if one is named."""
    there = data_set.folders["train"]
    if not train_folder:
        return data_set
    if train_folder not in there:
        raise UserError(
            f"train_folder is {train_folder!r}, but {data_set.root} has "
            f"{join_and(there) or 'no training mixtures'}. Set --train_folder "
            "to what is there, or leave it empty."
        )
    folders = {**data_set.folders, "train": (train_folder,)}
    return dataclasses.replace(data_set, folders=folders)


def _with_test(data_set):
    """The same with the validation split for a test split that is missing."""
    folders = data_set.folders
    if folders["test"] or "test" not in data_set.scheme.optional:
        return data_set
    logger.warning(
        "%s has no test split: %s, which also chooses the best checkpoint, "
        "is used for testing too. The test scores are optimistic.",
        *(data_set.root, join_and(folders["valid"])),
    )
    return dataclasses.replace(
        data_set, folders={**folders, "test": folders["valid"]}
    )
