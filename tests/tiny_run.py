"""Runs train.py on little data in a few seconds, and tells what it did."""

import pathlib

import numpy as np
import pytest
from in_process import in_process
from sounds import RATE, write_speakers

import train
from dpcl_dprnn.sound.audio import write_wav

RECIPE = pathlib.Path(train.__file__).parent
MINI = str(RECIPE / "hparams" / "mini.yaml")
SCORES = ("test_results.csv", "test_results_kmeans.csv")
SMALL = (
    *("--num_layers=1", "--hidden_size=8"),
    *("--num_channels=16", "--embedding_size=4"),
)
TINY = (
    *("--device=cpu", "--distributed_backend=gloo", "--precision=fp32"),
    *("--total_steps=100", "--warmup_steps=1", "--number_of_epochs=2"),
    *("--training_crop=0.5", *SMALL),
    *("--train_dataloader_opts={drop_last: False}", "--noprogressbar"),
)


def last_of_each(words):
    """Later options in place of earlier ones of the same name."""
    return {word.split("=")[0]: word for word in words}.values()


def where(data, folder):
    return f"--data_folder={data}", f"--output_folder={folder}"


def change_mini(folder, old, new):
    """A copy of mini.yaml that has another line."""
    text = pathlib.Path(MINI).read_text(encoding="utf-8")
    assert text.count(old) == 1
    path = folder / "changed.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def make_mixtures(folder, seconds, others=3, num_spks=2, rate=RATE):
    """Mixtures of noises, laid out like wsj0-mix: of so many seconds each in
    training, and others of half a second in validation and test.
    """
    rng = np.random.default_rng(0)
    splits = {"tr": seconds, "cv": [0.5] * others, "tt": [0.5] * others}
    for split, lengths in splits.items():
        for number, length in enumerate(lengths):
            shape = num_spks, round(length * rate)
            voices = 0.1 * rng.standard_normal(shape)
            signals = {"mix": voices.sum(axis=0)}
            signals |= {f"s{n}": v for n, v in enumerate(voices, start=1)}
            for kind, samples in signals.items():
                path = folder / "wav8k" / "min" / split / kind
                write_wav(path / f"{split}{number}.wav", samples, rate)
    return folder


def make_speech(folder):
    """Four speakers for each split, who hiss."""
    for split in ("train", "valid", "test"):
        write_speakers(folder / split, "abcd", shortest=1.0, step=2000)
    return folder


def train_tiny(*words, evaluate=False, main=train.main):
    """Train in this process, with those words after `TINY`; to test and report
    as well takes longer.

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
    words = last_of_each((*TINY, *words))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Separation, "log", keep)
        patch.setattr(train.Separation, "on_fit_start", remember)
        if not evaluate:
            patch.setattr(train, "test", lambda *_: None)
            patch.setattr(train, "write_all", lambda *_: None)
        in_process(main, MINI, *words)
    state = brains[0].separator.state_dict() if brains else {}
    return history, {key: value.clone() for key, value in state.items()}
