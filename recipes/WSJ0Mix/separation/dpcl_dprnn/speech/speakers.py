"""From a folder of recordings to the utterances of each speaker."""

import collections
import fnmatch
import itertools
import logging
import os
import pathlib
import re

import numpy as np
import tqdm

from ..common.errors import UserError
from ..common.files import pass_over, walk
from ..sound.audio import check_format
from ..sound.opening import FFMPEG_SUFFIXES, SNDFILE_SUFFIXES
from ..sound.sphere import read_speech, speech_info

logger = logging.getLogger(__name__)

# The split's name in wsj0-mix: patterns of the folders it may have in the
# speech, such as train-clean-100 (LibriSpeech) or si_tr_s (WSJ0).
SPLIT_FOLDERS = {
    "tr": ("train", "train[-_]*", "tr", "si_tr_s"),
    "cv": ("valid", "cv", "dev", "dev[-_]*", "si_dt_05"),
    "tt": ("test", "test[-_]*", "tt", "si_et_05"),
}
# Best first, where an utterance is there in several: a converted .wav may come
# from the wrong microphone. .wv2 is the second one of WSJ0.
SPEECH_SUFFIXES = (".wv1", ".sph", ".flac", ".wav") + tuple(
    sorted((SNDFILE_SUFFIXES | FFMPEG_SUFFIXES) - {".flac", ".wav"})
)
MIXTURE = re.compile(
    r"(mix|mixed|mixture)(_.*)?", re.IGNORECASE
)  # stems of files
SOURCE = re.compile(r"(s|spk|source)_?[12]", re.IGNORECASE)
MOST_GROUPS = (
    30  # speakers, of whom there are few enough to be dialects or sexes
)
FOLDERS = 3  # of each of them, at least, to look like speakers
SHORTEST = 0.5  # seconds; what is shorter holds hardly a word
SILENCE = 1e-4  # peak; three steps of 16 bits


def find_speakers(speech, n_spks=2, seed=1234, level=0):
    """List the utterances of every speaker, split by split.

    The folder is either split already, `{train,valid,test}/SPEAKER/**`
    (other names in `SPLIT_FOLDERS` will do), or flat, `SPEAKER/**`; then 80 % of
    the speakers, drawn at random, go to training and 10 % to each other split.

    Arguments
    ---------
    speech : str or Path
        Folder with mono sound files of any kind. Hidden files, other files
        and utterances under half a second are passed over.
    n_spks : int
        The fewest speakers that each split needs.
    seed : int
        Decides how a flat folder is divided.
    level : int
        Levels of folders above those of the speakers: 1 for `train/DIALECT/
        SPEAKER/**`, as of TIMIT.

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
    folders = split_folders(speech)
    missing = [split for split in SPLIT_FOLDERS if not folders[split]]
    if len(missing) == len(SPLIT_FOLDERS):
        speakers, fewest = _flat(speech, level), len(SPLIT_FOLDERS) * n_spks
        if len(speakers) < fewest:
            raise UserError(
                f"{speech} has too few speakers: {len(speakers)} folders with "
                "speech, one for each speaker. Training, validation and test "
                f"need {n_spks} or more each, {fewest} in all. "
                + (folders_below(speech, speakers) or "Add speakers.")
            )
        held_out = max(n_spks, round(0.1 * len(speakers)))
        cuts = divide(speakers, held_out, seed)
        found = {s: {n: speakers[n] for n in sorted(cuts[s])} for s in cuts}
    elif missing:
        raise UserError(
            f"{speech} has some of the folders train, valid and test, but no "
            f"{SPLIT_FOLDERS[missing[0]][0]}. Add it, or have the speakers' folders "
            "only."
        )
    else:
        found = {s: _utterances(speech, f, level) for s, f in folders.items()}
    for split, speakers in found.items():
        where = folders[split][0] if folders[split] else speech
        _check_count(where, SPLIT_FOLDERS[split][0], speakers, n_spks)
    for (_, first), (split, second) in itertools.combinations(found.items(), 2):
        shared = sorted(set(first) & set(second))
        if shared:
            logger.warning(
                "%s has the speaker %s in %s and elsewhere: scores will be "
                "too good.",
                *(speech, shared[0], SPLIT_FOLDERS[split][0]),
            )
    return found


def find_training_speakers(speech, n_spks=2, level=0):
    """List the utterances of the speakers for training alone, of a flat folder
    those of all: `{speaker: [path, ...]}`. Otherwise as `find_speakers`.
    """
    speech = pathlib.Path(speech)
    folders = split_folders(speech)
    training = folders["tr"]
    if any(folders.values()) and not training:
        raise UserError(f"{speech} has no folder train. Add it.")
    if training:
        speakers = _utterances(speech, training, level)
    else:
        speakers = _flat(speech, level)
    _check_count(speech, "train", speakers, n_spks)
    return speakers


def split_folders(speech):
    """The folders of each split, sorted, whatever the case of their names:
    `{"tr": [path, ...], "cv": [...], "tt": [...]}`; empty for a flat folder.
    `UserError` where there is no such folder.
    """
    if not speech.is_dir():
        raise UserError(f"{speech} is not a folder. Give a folder of speakers.")
    folders = sorted(path for path in speech.iterdir() if path.is_dir())
    return {
        split: [folder for folder in folders if _split_of(folder.name) == split]
        for split in SPLIT_FOLDERS
    }


def _split_of(name):
    """The split that a folder's name stands for, or None."""
    for split, patterns in SPLIT_FOLDERS.items():
        if any(fnmatch.fnmatchcase(name.lower(), each) for each in patterns):
            return split
    return None


def _check_count(where, split, speakers, n_spks):
    if len(speakers) < n_spks:
        raise UserError(
            f"{where} has too few speakers: {len(speakers)} for {split}, "
            f"where mixtures of {n_spks} need {n_spks} or more. Add speakers."
        )


def _flat(speech, level):
    """The utterances of a folder that has no splits, by speaker."""
    speakers = _utterances(speech, [speech], level)
    for name, utterances in speakers.items():
        folders = {part for u in utterances for part in u.split("/")[1:-1]}
        for folder in sorted(folders):
            if _split_of(folder):
                raise UserError(
                    f"{speech} is no folder of speakers: it has {folder} "
                    f"below {name}. Give the folder that holds {folder}."
                )
    return speakers


def _utterances(speech, folders, level):
    """The utterances below some folders, by speaker."""
    found, short, passed = {}, 0, collections.Counter()
    speakers = [
        place for folder in folders for place in speaker_folders(folder, level)
    ]
    # Headers are read; the bar is for people alone, as it is a second mostly.
    for speaker in tqdm.tqdm(
        speakers, "reading headers", unit="speaker", disable=None, leave=False
    ):
        paths, others = list_speech(speaker)
        passed += others
        refuse_mixtures(paths)
        for path in paths:
            info = speech_info(path)
            check_format(path, info.channels, info.rate)
            if info.frames < SHORTEST * info.rate:
                short += 1
                continue
            name = path.relative_to(speech).as_posix()
            found.setdefault(speaker.name, []).append(name)
    if short:
        logger.warning(
            "%s has %d utterances under %s s, which are passed over.",
            *(speech, short, SHORTEST),
        )
    if passed:
        where = ", ".join(map(str, folders))
        logger.info("%s: passed over %s.", where, in_words(passed))
    found = {name: sorted(found[name]) for name in sorted(found)}
    if doubt := folders_below(speech, found):
        logger.warning("%s", doubt)
    return found


def speaker_folders(folder, level):
    """The folders of speakers, so many levels further down, sorted."""
    return sorted(
        path
        for path in folder.glob("*/" * level + "*")
        if path.is_dir()
        and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    )


def folders_below(speech, speakers):
    """Ask whether speakers are not rather the folders below these, if they
    are few and have many; "" otherwise.

    Arguments
    ---------
    speech : Path
    speakers : dict of str to list of str
        Their utterances, relative to `speech`.
    """
    places = {
        name: {os.path.dirname(path) for path in paths}
        for name, paths in speakers.items()
    }
    below = {place for each in places.values() for place in each}
    few = 0 < len(places) <= MOST_GROUPS
    if not few or len(below) < FOLDERS * len(places):
        return ""
    name = max(places, key=lambda name: len(places[name]))
    top = os.path.commonpath(sorted(places[name]))
    return (
        f"{speech} has {len(places)} speakers and {len(below)} folders below "
        f"them, as in {speech / top}: are those the speakers? Then set "
        "speaker_level to 1, or give the folder that has theirs."
    )


def refuse_mixtures(paths):
    """Refuse what is no speaker's: a mixture and its sources, going by the
    names of those files that lie beside the first one.
    """
    folder = paths[0].parent if paths else None
    stems = [path.stem for path in paths if path.parent == folder]
    if any(map(MIXTURE.fullmatch, stems)) and any(map(SOURCE.fullmatch, stems)):
        raise UserError(
            f"{folder} is no speaker's folder: it has {', '.join(stems)}, a "
            "mixture and its sources. Put such folders into train, valid and "
            "test, with files mixture, s1, s2, and give what has these as "
            "--data_folder."
        )


def list_speech(folder, on_error=pass_over):
    """The files of speech at any depth, as paths, sorted, see `files.walk`, and
    how many others there are by suffix. Of files that differ in the suffix
    only, the best kind is taken.
    """
    best, suffixes = {}, collections.Counter()
    for path in walk(folder, on_error):
        stem, suffix = os.path.splitext(path)
        suffix = suffix.lower()
        suffixes[suffix] += 1
        if suffix in SPEECH_SUFFIXES:
            rank = SPEECH_SUFFIXES.index(suffix)
            best[stem] = min(best.get(stem, (rank, path)), (rank, path))
    taken = collections.Counter(
        SPEECH_SUFFIXES[rank] for rank, _ in best.values()
    )
    paths = sorted(pathlib.Path(path) for _, path in best.values())
    return paths, suffixes - taken


def in_words(suffixes):
    """Counts of suffixes, the most frequent first.

    Example
    -------
    >>> in_words(collections.Counter({".txt": 3, "": 1}))
    '3 .txt and 1 without suffix'
    """
    return " and ".join(
        f"{count:,} {suffix or 'without suffix'}"
        for suffix, count in suffixes.most_common()
    )


def read_utterance(path):
    """Read an utterance: samples [T], float64, full scale at 1.0, and their
    rate.

    Raises
    ------
    UserError
        When it is silent, or `sphere.read_speech` cannot read it.
    """
    samples, rate = read_speech(path)
    if np.abs(samples).max(initial=0) < SILENCE:
        raise UserError(f"{path} is silent. Remove the file.")
    return samples.astype(np.float64), rate


def divide(items, held_out, seed):
    """The items of `tr`, `cv` and `tt`, drawn: so many are held out for cv, as
    many for tt.
    """
    items = list(items)
    np.random.default_rng(seed).shuffle(items)
    return {
        "tr": items[2 * held_out :],
        "cv": items[:held_out],
        "tt": items[held_out : 2 * held_out],
    }
