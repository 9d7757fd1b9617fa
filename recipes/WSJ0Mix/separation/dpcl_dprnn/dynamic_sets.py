"""From a folder of speakers to the datasets of training, mixed on the fly."""

import pathlib

import numpy as np

from .dynamic import DynamicMixtures, Mixer
from .errors import UserError
from .speakers import (
    find_speakers,
    find_training_speakers,
    sound_files,
    split_folders,
)
from .speech_store import open_store

SPLITS = {"train": "tr", "valid": "cv", "test": "tt"}
LONGEST = 30  # seconds of a mixture: a recording of hours is no utterance
SINGLE = (*SPLITS, "gain_db")  # settings of one number


def make_dynamic_sets(
    speech_folder,
    cache,
    settings,
    num_spks,
    sample_rate,
    training_crop,
    seed,
    training_only=False,
):
    """Datasets of mixtures that are made on the fly.

    Training mixes short pieces, validation and test up to half a minute of
    each utterance, at its own speed. No split has a speaker, noise or room of
    another, where there are enough.

    Arguments
    ---------
    speech_folder : str or Path
        See `speakers.find_speakers`.
    cache : str or Path
        Where the decoded speech is kept, see `speech_store.open_store`.
    settings : dict
        `dynamic_mixing` of the hparams.
    num_spks : int
        Outputs of the system, C.
    sample_rate : int
        In Hz.
    training_crop : float
        Seconds.
    seed : int
        Decides everything that is random.
    training_only : bool
        Whether the other splits come from elsewhere; then a folder that has
        no splits is all for training.

    Returns
    -------
    dict
        `{"train": DynamicMixtures, ...}`. All are fixed until that of training
        is given an `epoch_counter`.

    Raises
    ------
    UserError
        When a setting or the speech is unfit.
    """
    numbers = read_settings(settings, num_spks)
    fewest = max(numbers["speakers"])
    if training_only:
        speakers = {"tr": find_training_speakers(speech_folder, fewest)}
    else:
        speakers = find_speakers(speech_folder, fewest, seed)
    names = sorted(
        name
        for each in speakers.values()
        for utterances in each.values()
        for name in utterances
    )
    store = open_store(speech_folder, names, sample_rate, cache)
    noises, rooms = (
        _open_sounds(settings, name, sample_rate, cache, seed)
        for name in ("noise_folder", "room_folder")
    )
    indices = {name: index for index, name in enumerate(store.names)}
    sets = {}
    for number, (split, short) in enumerate(SPLITS.items()):
        if short not in speakers:
            continue
        training = split == "train"
        seconds = training_crop if training else LONGEST
        mixer = Mixer(
            store,
            num_spks,
            speakers=numbers["speakers"],
            crop=round(seconds * sample_rate),
            speeds=numbers["speeds"] if training else (100,),
            gain_db=numbers["gain_db"][0],
            overlap=numbers["overlap"],
            noise=noises[short],
            snr_db=numbers["snr_db"],
            rooms=rooms[short],
        )
        groups = [[indices[u] for u in us] for us in speakers[short].values()]
        count = numbers[split][0]
        sets[split] = DynamicMixtures(mixer, groups, count, [seed, number])
    return sets


def _open_sounds(settings, name, sample_rate, cache, seed):
    """The stores of noises or impulse responses, by split, or None."""
    if not settings[name]:
        return dict.fromkeys(SPLITS.values())
    folder, key = pathlib.Path(str(settings[name])), f"dynamic_mixing.{name}"
    if not folder.is_dir():
        raise UserError(f"{key}: {folder} is not a folder.")
    files = _divide_sounds(folder, seed)
    if not all(files.values()):
        raise UserError(f"{key}: {folder} has no WAV or FLAC files.")
    stores = {}
    for split, paths in files.items():
        names = sorted(path.relative_to(folder).as_posix() for path in paths)
        stores[split] = open_store(folder, names, sample_rate, cache, channel=0)
        silent = np.flatnonzero(stores[split].levels == 0)
        if name == "room_folder" and len(silent):
            path = folder / names[silent[0]]
            raise UserError(f"{key}: {path} is silent. Remove the file.")
    return stores


def _divide_sounds(folder, seed):
    """The files of each split: as its folders divide them, or else by lot."""
    folders = split_folders(folder)
    if all(folders.values()):
        return {
            split: [file for each in paths for file in sound_files(each)]
            for split, paths in folders.items()
        }
    files = sound_files(folder)
    if len(files) < len(SPLITS):
        return dict.fromkeys(SPLITS.values(), files)
    np.random.default_rng(seed).shuffle(files)
    tenth = max(1, len(files) // 10)
    return {
        "tr": files[2 * tenth :],
        "cv": files[:tenth],
        "tt": files[tenth : 2 * tenth],
    }


def read_settings(settings, num_spks):
    """Check `dynamic_mixing` of the hparams.

    Arguments
    ---------
    settings : dict
        Of the hparams.
    num_spks : int
        The most speakers that the system separates.

    Returns
    -------
    dict
        The settings that are numbers, each a tuple of one or more.

    Raises
    ------
    UserError
        Names the setting that is unfit.
    """
    limits = {
        **dict.fromkeys(SPLITS, (int, 1, 10**9)),
        "speakers": (int, 1, num_spks),
        "speeds": (int, 50, 200),
        "gain_db": (float, 0, 100),
        "overlap": (float, 0, 1),
        "snr_db": (float, -100, 100),
    }
    _check_names(settings, [*limits, "noise_folder", "room_folder"])
    read = {
        name: _read_numbers(name, settings[name], *limit)
        for name, limit in limits.items()
    }
    for name in ("overlap", "snr_db"):
        first, last = read[name][0], read[name][-1]
        if len(read[name]) > 2 or first > last:
            raise UserError(
                f"dynamic_mixing.{name} is {settings[name]!r}; it needs one "
                "number, or the lowest and the highest."
            )
        read[name] = (first, last)
    return read


def _check_names(settings, names):
    """Refuse settings that are none, or lack one."""
    if not isinstance(settings, dict):
        raise UserError(
            f"dynamic_mixing is {settings!r}; it needs settings, such as "
            "{train: 20000}."
        )
    missing = [name for name in names if name not in settings]
    if missing:
        raise UserError(
            f"dynamic_mixing has no {missing[0]}. Add it, as in the hparams "
            "files of the recipe."
        )


def _read_numbers(name, value, kind, lowest, highest):
    """A setting of one or more numbers as a tuple."""
    values = value if isinstance(value, list | tuple) else [value]
    allowed = int if kind is int else int | float
    fits = all(
        isinstance(number, allowed)
        and not isinstance(number, bool)
        and lowest <= number <= highest
        for number in values
    )
    single = name in SINGLE
    if not fits or not values or (single and values is value):
        whole = "whole " if kind is int else ""
        numbers = f"a {whole}number" if single else f"{whole}numbers"
        raise UserError(
            f"dynamic_mixing.{name} is {value!r}; it needs {numbers} from "
            f"{lowest} to {highest}."
        )
    return tuple(values)
