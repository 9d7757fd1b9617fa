"""Runs train.py on little data in a few seconds, and tells what it did."""

import pathlib

import numpy as np
import pytest
from in_process import in_process

import train
from dpcl_dprnn.common.audio import write_wav

RECIPE = pathlib.Path(train.__file__).parent
MINI = str(RECIPE / "hparams" / "mini.yaml")
RATE = 8000
TINY = (
    *("--device=cpu", "--distributed_backend=gloo", "--precision=fp32"),
    *("--total_steps=100", "--warmup_steps=1", "--number_of_epochs=2"),
    *("--training_crop=0.5", "--num_layers=1", "--hidden_size=8"),
    *("--num_channels=16", "--num_filters=32", "--embedding_size=4"),
    *("--train_dataloader_opts={drop_last: False}", "--noprogressbar"),
)


def make_mixtures(folder, seconds, others=3):
    """Mixtures of two noises, laid out like wsj0-mix.

    Arguments
    ---------
    folder : Path
    seconds : list of float
        Of each training mixture.
    others : int
        Mixtures of half a second in validation and test.
    """
    rng = np.random.default_rng(0)
    splits = {"tr": seconds, "cv": [0.5] * others, "tt": [0.5] * others}
    for split, lengths in splits.items():
        for number, length in enumerate(lengths):
            voices = 0.1 * rng.standard_normal((2, round(length * RATE)))
            signals = {"mix": voices.sum(axis=0)}
            signals |= {"s1": voices[0], "s2": voices[1]}
            for kind, samples in signals.items():
                path = folder / "wav8k" / "min" / split / kind
                write_wav(path / f"{split}{number}.wav", samples, RATE)
    return folder


def make_speech(folder):
    """Four speakers for each split, who hiss."""
    rng = np.random.default_rng(0)
    for split in ("train", "valid", "test"):
        for name in "abcd":
            noise = 0.1 * rng.standard_normal(int(rng.uniform(1, 2) * RATE))
            write_wav(folder / split / name / f"{name}.wav", noise, RATE)
    return folder


def train_tiny(*words, evaluate=False, main=train.main):
    """Train in this process.

    Arguments
    ---------
    *words : str
        Of the command line, after those of `TINY`.
    evaluate : bool
        Whether to test and report as well, which takes longer.
    main : callable
        `train.main` or `train.run`.

    Returns
    -------
    list of dict
        What was logged, unrounded: `epoch`, `lr`, `train` and `valid`.
    dict
        The weights at the end.
    """
    history, brains = [], []
    log = train.Separation.log

    def keep(brain, meta, train_stats=None, valid_stats=None, **others):
        history.append({**meta, "train": train_stats, "valid": valid_stats})
        log(brain, meta, train_stats, valid_stats, **others)

    def remember(brain):
        brains.append(brain)
        return fit_start(brain)

    fit_start = train.Separation.on_fit_start
    words = {word.split("=")[0]: word for word in (*TINY, *words)}.values()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Separation, "log", keep)
        patch.setattr(train.Separation, "on_fit_start", remember)
        if not evaluate:
            patch.setattr(train, "test", lambda *_: None)
            patch.setattr(train, "write_all", lambda *_: None)
        in_process(main, MINI, *words)
    state = brains[0].separator.state_dict() if brains else {}
    return history, {key: value.clone() for key, value in state.items()}
