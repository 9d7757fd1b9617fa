"""From a folder of speakers to the datasets of training, mixed on the fly."""

import dataclasses
import functools
import logging
import pathlib

import numpy as np

from ..common.errors import UserError, few
from ..speech.speakers import (
    divide,
    find_speakers,
    find_training_speakers,
    list_speech,
    split_folders,
)
from ..speech.store import JoinedStores, open_store
from .live import DynamicMixtures, Mixer

logger = logging.getLogger(__name__)

SHORT_NAMES = {"train": "tr", "valid": "cv", "test": "tt"}
LONGEST = 30  # seconds of a mixture: a recording of hours is no utterance
SEVERAL = ("speakers", "speeds", "overlap", "snr_db")  # not of one number
CODEC_RATES = (8000, 12000, 16000, 24000, 48000)  # Hz, which all codecs take


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
    speech_folder : str, Path or list of them
        See `speakers.find_speakers`. Of several the first has the speakers of
        validation and test; of the others those for training are taken.
    cache : str or Path
        Where the decoded speech is kept, see `store.open_store`.
    settings : dict
        `dynamic_mixing` of the hparams.
    num_spks : int
        Outputs of the system, C.
    sample_rate : int
        In Hz.
    training_crop : int
        Samples.
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
    several = isinstance(speech_folder, list | tuple)
    folders = list(speech_folder) if several else [speech_folder]
    numbers = read_settings(settings, num_spks, len(folders))
    if numbers["codec_probability"] and sample_rate not in CODEC_RATES:
        raise UserError(
            "dynamic_mixing.codec_probability: codecs take a sample_rate of "
            f"{', '.join(map(str, CODEC_RATES))} Hz, not {sample_rate}. Set it "
            "to 0, or choose another --sample_rate."
        )
    fewest, level = max(numbers["speakers"]), numbers["speaker_level"]
    if training_only:
        speakers = {"tr": find_training_speakers(folders[0], fewest, level)}
    else:
        speakers = find_speakers(folders[0], fewest, seed, level)
    found = [speakers]
    held_out = {n for short in ("cv", "tt") for n in speakers.get(short, ())}
    for folder in folders[1:]:
        others = find_training_speakers(folder, fewest, level)
        known = sorted(held_out & others.keys())
        if known:
            logger.warning(
                "%s has speakers that %s has for validation or test; they are "
                "left out: %s.",
                *(folder, folders[0], few(known)),
            )
        left = {n: others[n] for n in others if n not in known}
        if numbers["same_folder"] and len(left) < fewest:
            raise UserError(
                f"dynamic_mixing.same_folder: {folder} has {len(left)} "
                f"speakers that are not held out, fewer than the {fewest} of "
                "a mixture. Leave the folder out, or set it to 0."
            )
        found.append({"tr": left})
    stores, groups, first = [], {}, 0
    for folder, each in zip(folders, found, strict=True):
        people = [us for split in each.values() for us in split.values()]
        names = sorted(name for utterances in people for name in utterances)
        stores.append(open_store(folder, names, sample_rate, cache))
        indices = {name: first + n for n, name in enumerate(names)}
        for short, split in each.items():
            groups.setdefault(short, []).append(
                [[indices[u] for u in us] for us in split.values()]
            )
        first += len(names)
    store = stores[0] if len(stores) == 1 else JoinedStores(stores)
    noises, rooms = (
        _open_sounds(settings, name, sample_rate, cache, seed)
        for name in ("noise_folder", "room_folder")
    )
    options = {
        field.name: numbers[field.name]
        for field in dataclasses.fields(Mixer)
        if field.name in numbers
    }
    if numbers["room_target_ms"] is not None:
        target = numbers["room_target_ms"] * sample_rate / 1000
        options["room_target"] = round(target)
    sets = {}
    for number, (split, short) in enumerate(SHORT_NAMES.items()):
        if short not in speakers:
            continue
        chances, folder_of, own = None, None, {"crop": training_crop}
        if split == "train":
            chances = _chances(groups[short], store, numbers)
            sizes = [len(each) for each in groups[short]]
            folder_of = np.repeat(range(len(sizes)), sizes)
        else:
            own = {"crop": round(LONGEST * sample_rate), "speeds": (100,)}
        sounds = {"noise": noises[short], "rooms": rooms[short]}
        sets[split] = DynamicMixtures(
            Mixer(store, num_spks, **{**options, **own, **sounds}),
            [group for folder in groups[short] for group in folder],
            numbers[split],
            [seed, number],
            chances=chances,
            folders=folder_of,
        )
    return sets


def _chances(folders, store, numbers):
    """The chances of speakers by the epochs gone by; None if all are alike."""
    power, shares = numbers["speaker_power"], numbers["shares"]
    if power == 0 and shares is None:
        return None
    seconds = [
        np.array([store.lengths[group].sum() for group in groups]) / store.rate
        for groups in folders
    ]
    weights = [each**power for each in seconds]
    shares = shares or [[each.sum() for each in weights]] * 2
    first, last = (
        np.concatenate(
            [s * w / w.sum() for s, w in zip(each, weights, strict=True)]
        )
        / sum(each)
        for each in shares
    )
    return functools.partial(
        _change, first=first, last=last, duration=numbers["share_epochs"]
    )


def _change(epochs, first, last, duration):
    """From the first chances to the last ones in a straight line."""
    done = min(1.0, epochs / duration)
    return (1 - done) * first + done * last


def _open_sounds(settings, name, sample_rate, cache, seed):
    """The stores of noises or impulse responses, by split, or None."""
    if not settings[name]:
        probability = name.replace("folder", "probability")
        if 0 < settings[probability] < 1:  # 1 may be the default
            logger.warning(
                "dynamic_mixing.%s is %g and does nothing: give a %s.",
                *(probability, settings[probability], name),
            )
        return dict.fromkeys(SHORT_NAMES.values())
    folder, key = pathlib.Path(str(settings[name])), f"dynamic_mixing.{name}"
    if not folder.is_dir():
        raise UserError(f"{key}: {folder} is not a folder.")
    folders = split_folders(folder)
    if all(folders.values()):
        files = {
            split: [file for each in paths for file in list_speech(each)[0]]
            for split, paths in folders.items()
        }
    else:
        every, _ = list_speech(folder)
        files = dict.fromkeys(folders, every)
        if len(every) >= len(folders):
            files = divide(every, max(1, len(every) // 10), seed)
    if not all(files.values()):
        raise UserError(f"{key}: {folder} has no sound files.")
    stores = {}
    for split, paths in files.items():
        names = sorted(path.relative_to(folder).as_posix() for path in paths)
        stores[split] = open_store(
            folder,
            names,
            sample_rate,
            cache,
            channel=0,
            rumble=name == "room_folder",
        )
        silent = np.flatnonzero(stores[split].levels == 0)
        if name == "room_folder" and len(silent):
            path = folder / names[silent[0]]
            raise UserError(f"{key}: {path} is silent. Remove the file.")
    return stores


def read_settings(settings, num_spks, folders=1):
    """Check `dynamic_mixing` of the hparams, for a system of up to `num_spks`
    speakers and so many folders of speech.

    Returns
    -------
    dict
        The settings that are numbers; tuples of those that may be several.
        `shares` as two lists of numbers, or None.

    Raises
    ------
    UserError
        Names the setting that is unfit.
    """
    if not isinstance(settings, dict):
        raise UserError(
            f"dynamic_mixing is {settings!r}; it needs settings, such as "
            "{train: 20000}."
        )
    limits = {
        **dict.fromkeys(SHORT_NAMES, (int, 1, 10**9)),
        "speakers": (int, 1, num_spks),
        "speeds": (int, 50, 200),
        "gain_db": (float, 0, 100),
        "overlap": (float, -1, 1),
        "snr_db": (float, -100, 100),
        "noise_probability": (float, 0, 1),
        "room_probability": (float, 0, 1),
        "telephone_probability": (float, 0, 1),
        "codec_probability": (float, 0, 1),
        "speaker_power": (float, 0, 10),
        "share_epochs": (float, 1e-6, 10**9),
        "same_folder": (float, 0, 1),
        "speaker_level": (int, 0, 9),
    }
    others = ("shares", "room_target_ms", "noise_folder", "room_folder")
    for name in (*limits, *others):
        if name not in settings:
            raise UserError(
                f"dynamic_mixing has no {name}. Add it, as in the hparams "
                "files of the recipe."
            )
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
    target = settings["room_target_ms"]
    if target is not None:
        target = _read_numbers("room_target_ms", target, float, 0, 10**4)
    read["room_target_ms"] = target
    read["shares"] = _read_shares(settings["shares"], folders)
    return read


def _read_shares(shares, folders):
    """The shares of the folders at first and at last, or None."""
    if shares is None:
        return None
    lists = isinstance(shares, list | tuple) and len(shares) == 2
    if not lists or not all(
        isinstance(each, list | tuple)
        and len(each) == folders
        and all(isinstance(n, int | float) and n >= 0 for n in each)
        and sum(each) > 0
        for each in shares
    ):
        raise UserError(
            f"dynamic_mixing.shares is {shares!r}; it needs two lists, of the "
            "shares at first and in the end, with a number for each of the "
            f"{folders} folders of --speech_folder, or null."
        )
    return shares


def _read_numbers(name, value, kind, lowest, highest):
    """A setting of one number, or the tuple of one of several."""
    values = value if isinstance(value, list | tuple) else [value]
    allowed = int if kind is int else int | float
    fits = all(
        isinstance(number, allowed)
        and not isinstance(number, bool)
        and lowest <= number <= highest
        for number in values
    )
    single = name not in SEVERAL
    if not fits or not values or (single and values is value):
        whole = "whole " if kind is int else ""
        numbers = f"a {whole}number" if single else f"{whole}numbers"
        raise UserError(
            f"dynamic_mixing.{name} is {value!r}; it needs {numbers} from "
            f"{lowest} to {highest}."
        )
    return value if single else tuple(values)
