"""Runs and models of earlier versions name classes as they were called then.

`old/model.yaml` and `old/settings.json` are of a model folder and a checkpoint
that were made before there were rooms.
"""

import importlib
import json
import pathlib
import re

import pytest
import torch
from refusals import refused

import train
from dpcl_dprnn.common.moved import MOVED, NAME, moved_names, with_new_names
from dpcl_dprnn.inference.loading import load_hparams
from dpcl_dprnn.training.checkpoints import AtomicCheckpointer
from dpcl_dprnn.training.options import load_hparams as load_training
from dpcl_dprnn.training.resuming import Settings

RECIPE = pathlib.Path(train.__file__).parent
OLD = pathlib.Path(__file__).parents[1] / "old"
# What is about the filters that mini.yaml had in place of its STFT.
ANOTHER_MODEL = re.compile(
    r"(kernel_size|num_filters|bins|grid_|frames_per_|encoder|decoder|"
    r"embedding_head|model|separator)"
)


def without_model(values):
    return {k: v for k, v in values.items() if not ANOTHER_MODEL.match(k)}


def is_there(name):
    module, _, last = name.rpartition(".")
    return hasattr(importlib.import_module(module), last)


@pytest.mark.parametrize("name", MOVED.values())
def test_new_names_are_there(name):
    assert is_there(name)


@pytest.mark.parametrize("file", ["model.yaml", "settings.json"])
def test_every_name_of_an_old_file_is_known(file):
    text = (OLD / file).read_text(encoding="utf-8")
    assert len(moved_names(text)) > 5
    text = with_new_names(text)
    assert not moved_names(text)
    assert all(is_there(name) for name in NAME.findall(text))


@torch.no_grad()
@pytest.mark.parametrize("safe", [True, False])
def test_an_old_model_folder_is_built(safe):
    hparams = load_hparams(OLD / "model.yaml", None, safe)
    separator = hparams["modules"]["separator"].eval()
    assert separator.heads == ("masks", "kmeans")
    estimates, _ = separator(torch.randn(1, 4000))
    assert estimates.shape == (1, 2, 4000)


def test_an_old_run_has_no_other_hparams_today(tmp_path):
    """Nothing but what its user changed, and the model, would have to be set."""
    checkpointer = AtomicCheckpointer(tmp_path / "save")
    old = Settings("lr: 0.1")
    values = json.loads((OLD / "settings.json").read_text())
    old.values = without_model(values)
    checkpointer.add_recoverable("settings", old)
    checkpointer.save_checkpoint()
    mini = RECIPE / "hparams" / "mini.yaml"
    options = ("precision", "grad_accumulation_factor")  # as SpeechBrain has
    now = Settings(
        mini.read_text(encoding="utf-8"),
        run_options={name: values[name] for name in options},
    )
    now.values = without_model(now.values)
    now.values["initial_weights"] = "random"  # the key was start
    for key in old.values.keys() & now.values.keys():
        if not str(old.values[key]).startswith(("!", "dpcl")):
            now.values[key] = old.values[key]
    now.check(checkpointer)


def test_an_old_run_goes_on(tmp_path):
    """Its checkpoint holds the tags of the YAML that it began with."""
    then = "loss: !name:dpcl_dprnn.losses.dpcl_loss\nlr: 0.1"
    now = "loss: !name:dpcl_dprnn.model.losses.dpcl_loss\nlr: 0.1"
    checkpointer = AtomicCheckpointer(tmp_path / "save")
    checkpointer.add_recoverable("settings", Settings(then))
    checkpointer.save_checkpoint()
    Settings(now).check(checkpointer)
    other = now.replace("dpcl_loss", "whitened_dpcl_loss")
    with refused("was '!name:dpcl_dprnn.model.losses"):
        Settings(other).check(checkpointer)


def test_a_file_of_ones_own_is_told_the_new_name(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "num_spks: 2\nsample_rate: 8000\nbatch_size: 1\ntraining_crop: 1.0\n"
        "data_folder: x\nseed: 1\n"
        "encoder: !new:dpcl_dprnn.encoders.LearnedEncoder\n    kernel_size: 16\n",
        encoding="utf-8",
    )
    with refused() as caught:
        load_training(str(path), "")
    for word in ("mine.yaml", "dpcl_dprnn.model.encoders.LearnedEncoder"):
        assert word in str(caught.value)
