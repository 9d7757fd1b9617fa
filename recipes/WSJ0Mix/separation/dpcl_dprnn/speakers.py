"""From a folder of recordings to the utterances of each speaker."""

import os
import pathlib

import numpy as np

from .audio import SOUND_SUFFIXES, audio_info, check_format
from .errors import UserError

# The split's name in wsj0-mix: the folder names it may have in the speech.
SPLITS = {
    "tr": ("train", "tr"),
    "cv": ("valid", "cv", "dev"),
    "tt": ("test", "tt"),
}
SHORTEST = 0.5  # seconds; what is shorter holds hardly a word


def find_speakers(speech, n_spks=2, seed=1234):
    """List the utterances of every speaker, split by split.

    The folder is either split already, `{train,valid,test}/SPEAKER/**`
    (`tr`, `cv` or `dev`, `tt` will do), or flat, `SPEAKER/**`; then 80 % of
    the speakers, drawn at random, go to training and 10 % to each other split.

    Arguments
    ---------
    speech : str or Path
        Folder with mono WAV or FLAC files. Hidden files, other files and
        utterances under half a second are passed over.
    n_spks : int
        The fewest speakers that each split needs.
    seed : int
        Decides how a flat folder is divided.

    Returns
    -------
    dict
        `{"tr": {speaker: [path, ...]}, "cv": ..., "tt": ...}`, sorted, paths
        relative to `speech`.

    Raises
    ------
    UserError
        When a split is missing or has too few speakers, or a file is not
        mono sound.
    """
    speech = pathlib.Path(speech)
    if not speech.is_dir():
        raise UserError(f"{speech} is not a folder. Give a folder of speakers.")
    folders = {}
    for split, names in SPLITS.items():
        present = [speech / name for name in names if (speech / name).is_dir()]
        folders[split] = present[0] if present else None
    missing = [SPLITS[split][0] for split in SPLITS if not folders[split]]
    if len(missing) == len(SPLITS):
        found = _divide(_utterances(speech, speech), n_spks, seed)
    elif missing:
        raise UserError(
            f"{speech} has some of the folders train, valid and test, but no "
            f"{missing[0]}. Add it, or have the speakers' folders only."
        )
    else:
        found = {s: _utterances(speech, f) for s, f in folders.items()}
    for split, speakers in found.items():
        if len(speakers) < n_spks:
            raise UserError(
                f"{folders[split] or speech} has too few speakers: "
                f"{len(speakers)} for {SPLITS[split][0]}, where mixtures of "
                f"{n_spks} need {n_spks} or more. Add speakers."
            )
    return found


def _utterances(speech, folder):
    """The utterances below `folder`, by speaker."""
    found = {}
    for speaker in sorted(folder.iterdir()):
        if speaker.name.startswith(".") or not speaker.is_dir():
            continue
        paths = [path for path in _sound_files(speaker) if _long_enough(path)]
        if paths:
            names = [path.relative_to(speech).as_posix() for path in paths]
            found[speaker.name] = names
    return found


def _sound_files(folder):
    """The sound files at any depth, sorted; linked folders are followed."""
    found = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            pathlib.Path(parent, name)
            for name in names
            if name.lower().endswith(SOUND_SUFFIXES)
            and not name.startswith(".")
        ]
    return sorted(found)


def _long_enough(path):
    info = audio_info(path)
    check_format(path, info.channels, info.rate)
    return info.frames >= SHORTEST * info.rate


def _divide(speakers, n_spks, seed):
    """Divide speakers into 80 % tr, 10 % cv and 10 % tt, n_spks at least."""
    names = list(speakers)
    np.random.default_rng(seed).shuffle(names)
    held_out = max(n_spks, round(0.1 * len(names)))
    cuts = {
        "tr": names[2 * held_out :],
        "cv": names[:held_out],
        "tt": names[held_out : 2 * held_out],
    }
    return {s: {n: speakers[n] for n in sorted(cuts[s])} for s in cuts}
