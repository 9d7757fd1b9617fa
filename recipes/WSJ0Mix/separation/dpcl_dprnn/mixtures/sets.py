"""Whole data sets of mixtures: from folders of speakers, and from WSJ0."""

import pathlib

import numpy as np

from ..common.errors import UserError
from ..common.files import write_text
from ..speech.speakers import find_speakers
from .lists import draw_mixtures, format_mixture, mixture_name
from .places import Source, already_there
from .rendering import render
from .wsj0 import locate, look_up_levels, read_levels, read_lists

COUNTS = {"tr": 3000, "cv": 200, "tt": 200}


def mix_corpus(
    speech,
    out,
    n_spks=2,
    rate=8000,
    mode="min",
    counts=None,
    seed=1234,
    speaker_level=0,
    jobs=None,
):
    """Make a data set in the layout of wsj0-mix from a folder of speakers.

    Writes `OUT/<n>speakers/wav8k/min/{tr,cv,tt}/{mix,s1,s2,...}/NAME.wav` and
    the lists `OUT/<n>speakers/mix_<n>_spk_{tr,cv,tt}.txt`. A split's folder
    appears only when it is whole, and the same seed gives the same bytes.

    Arguments
    ---------
    speech : str or Path
        Folder of speakers, see `find_speakers`.
    out : str or Path
        Where `<n>speakers` will be.
    n_spks : int
        Speakers in each mixture, 2 or more.
    rate : int
        Sampling rate to write, in Hz; speech at another rate is resampled.
    mode : str
        `min` or `max`, see `rendering.mix_sources`.
    counts : dict, optional
        Number of mixtures for `tr`, `cv` and `tt`.
    seed : int
        Seed of all random choices.
    speaker_level : int
        See `find_speakers`.
    jobs : int, optional
        Processes; as many as there are cores by default.

    Returns
    -------
    folder : pathlib.Path
        `OUT/<n>speakers`.
    made : bool
        False where it was there, made from the same speech with the same
        options.

    Raises
    ------
    UserError
        When an option or the speech is unfit, an utterance is silent, or the
        folder exists with other content.
    """
    counts = {**COUNTS, **(counts or {})}
    _check_options(n_spks, [rate], [mode], jobs, counts, seed)
    speech = pathlib.Path(speech)
    speakers = find_speakers(speech, n_spks, seed, speaker_level)
    target = pathlib.Path(out) / f"{n_spks}speakers"
    mixtures, texts = {}, {}
    for number, split in enumerate(counts):
        # A seed of its own: one split's size does not change the others.
        rng = np.random.default_rng([seed, number])
        drawn = draw_mixtures(speakers[split], counts[split], n_spks, rng)
        mixtures[split] = _by_name(drawn, lambda path: str(speech / path), {})
        text = "".join(format_mixture(mixture) + "\n" for mixture in drawn)
        texts[target / f"mix_{n_spks}_spk_{split}.txt"] = text
    # The lists are of all rates and modes that are made one after another.
    if any(p.exists() and p.read_bytes() != texts[p].encode() for p in texts):
        raise already_there(target)
    made = render(target, mixtures, [rate], [mode], jobs, rumble=False)
    for path, text in texts.items():
        if not path.exists():
            write_text(path, text)
    return target, made


def mix_wsj0(
    wsj0,
    lists,
    out,
    levels=None,
    n_spks=2,
    rates=(8000,),
    modes=("min",),
    splits=("tr", "cv", "tt"),
    jobs=None,
):
    """Make wsj0-mix from WSJ0 and the official lists.

    Writes `OUT/<n>speakers/wav8k/min/{tr,cv,tt}/{mix,s1,s2,...}/NAME.wav`,
    with the names and by the rule of the MATLAB scripts. Killed, it goes on
    where it stopped.

    Arguments
    ---------
    wsj0 : str or Path
        WSJ0 as the LDC ships it, see `wsj0.find_files`.
    lists : str or Path
        Folder of `mix_<n>_spk_{tr,cv,tt}.txt`.
    out, n_spks, jobs
        See `mix_corpus`.
    levels : str or Path, optional
        Folder of published active levels, `activlev_si_tr_s.txt` and so on;
        otherwise they are measured, see `levels.active_level`.
    rates : list of int
        Sampling rates to write, in Hz.
    modes : list of str
        `min` and `max`, see `rendering.mix_sources`.
    splits : list of str
        Of `tr`, `cv` and `tt`.

    Returns
    -------
    folder, made
        See `mix_corpus`; `made` is False where all of it was there.

    Raises
    ------
    UserError
        When an utterance, a list or a level is missing or broken, a folder
        is there with other content, or the disk is full.
    """
    _check_options(n_spks, rates, modes, jobs)
    drawn = read_lists(lists, n_spks, splits)
    files = locate(drawn, wsj0)
    table = look_up_levels(drawn, read_levels(levels)) if levels else {}
    mixtures = {
        split: _by_name(each.mixtures, files.get, table)
        for split, each in drawn.items()
    }
    target = pathlib.Path(out) / f"{n_spks}speakers"
    return target, render(target, mixtures, rates, modes, jobs)


def _by_name(mixtures, file_of, levels):
    """`{name: [Source, ...]}` of mixtures of (path, gain)."""
    return {
        mixture_name(mixture): [
            Source(path, file_of(path), gain, levels.get(path))
            for path, gain in mixture
        ]
        for mixture in mixtures
    }


def _check_options(n_spks, rates, modes, jobs, counts=None, seed=0):
    if n_spks < 2:
        raise UserError(f"n_spks is {n_spks}; a mixture needs 2 or more.")
    for rate in rates:
        if rate <= 0:
            raise UserError(f"rate is {rate}; it must be above 0, as is 8000.")
    for mode in modes:
        if mode not in ("min", "max"):
            raise UserError(f"mode is {mode!r}; it must be min or max.")
    if jobs is not None and jobs < 1:
        raise UserError(f"jobs is {jobs}; it must be 1 or more.")
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be 0 or more.")
    for split, count in (counts or {}).items():
        if split not in COUNTS or count < 1:
            raise UserError(
                f"{split} is to have {count} mixtures; each of tr, cv and tt "
                "needs 1 or more."
            )
