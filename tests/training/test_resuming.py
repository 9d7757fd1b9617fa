"""A run goes on with the hparams that it began with, or not at all."""

import json
import pathlib
import re

import pytest
import torch
from in_process import ends
from refusals import refused
from tiny_run import MINI, make_mixtures, train_tiny, where

import train
from dpcl_dprnn.training import resuming as settings
from dpcl_dprnn.training.checkpoints import AtomicCheckpointer
from dpcl_dprnn.training.resuming import Settings

HPARAMS = """
seed: 1
lr: 0.1
output_folder: results
number_of_epochs: 10
train_dataloader_opts: {batch_size: 4, shuffle: True, num_workers: 2}
model: !new:torch.nn.Linear
    in_features: 2
    out_features: !ref <seed>
speeds: [90, 100]
precision: !apply:dpcl_dprnn.training.machine.fastest_precision
"""


def test_settings_are_leaves_with_their_paths():
    values = Settings(
        HPARAMS,
        "lr: 0.2\nmodel: {in_features: 3}\ntrain_dataloader_opts: {drop_last: True}",
        {"precision": "bf16", "max_grad_norm": 2.0},
    ).values
    assert values == {
        "seed": 1,
        "lr": 0.2,
        "output_folder": "results",
        "number_of_epochs": 10,
        "train_dataloader_opts.batch_size": 4,
        "train_dataloader_opts.shuffle": True,
        "train_dataloader_opts.num_workers": 2,
        "train_dataloader_opts.drop_last": True,
        "model.tag": "!new:torch.nn.Linear",
        "model.in_features": 3,
        "model.out_features.tag": "!ref",
        "model.out_features": "<seed>",
        "speeds.0": 90,
        "speeds.1": 100,
        "precision": "bf16",
        "max_grad_norm": 2.0,
    }


def test_settings_can_be_written_as_json():
    values = Settings(pathlib.Path(MINI).read_text("utf-8")).values
    assert json.loads(json.dumps(values)) == values
    assert values["batch_size"] == 4 and values["seed"] == 1234


def begun(folder, *arguments):
    """A checkpointer with a checkpoint of a run of some settings."""
    recoverables = {"layer": torch.nn.Linear(1, 1)}
    checkpointer = AtomicCheckpointer(folder / "save", recoverables)
    if arguments:
        settings = Settings(*arguments)
        checkpointer.add_recoverable("settings", settings, optional_load=True)
    checkpointer.save_checkpoint()
    return checkpointer


def refusal(checkpointer, *arguments):
    with refused() as caught:
        Settings(*arguments).check(checkpointer)
    return str(caught.value)


@pytest.mark.parametrize(
    "overrides, told",
    [
        ("lr: 0.2", "lr (was 0.1, is 0.2)"),
        ("seed: 2", "seed (was 1, is 2)"),
        ("speeds: [90]", "speeds.1 (was 100, is None)"),
        ("model: {in_features: 3}", "model.in_features (was 2, is 3)"),
        (
            "train_dataloader_opts: {batch_size: 2}",
            "train_dataloader_opts.batch_size (was 4, is 2)",
        ),
        (
            "train_dataloader_opts: {drop_last: True}",
            "train_dataloader_opts.drop_last (was None, is True)",
        ),
    ],
)
def test_other_settings_are_refused(overrides, told, tmp_path):
    checkpointer = begun(tmp_path, HPARAMS)
    message = refusal(checkpointer, HPARAMS, overrides)
    for word in (f"hparams: {told}.", str(tmp_path), "--output_folder"):
        assert word in message
    assert f"--pretrained={tmp_path / 'save'}" in message


def test_all_settings_that_differ_are_named(tmp_path):
    checkpointer = begun(tmp_path, HPARAMS)
    message = refusal(
        *(checkpointer, HPARAMS, "lr: 0.2\nseed: 3"),
        {"precision": "fp32", "grad_accumulation_factor": 2},
    )
    for told in (
        "grad_accumulation_factor (was None, is 2)",
        "lr (was 0.1, is 0.2)",
        "precision (was '', is 'fp32')",
        "seed (was 1, is 3)",
    ):
        assert told in message


@pytest.mark.parametrize(
    "overrides",
    [
        "",
        "number_of_epochs: 99",
        "output_folder: elsewhere",
        "{recompute: True, model: {recompute: True}}",
        "{chunk_cuts: 2, model: {cuts: !ref <chunk_cuts>}}",
        "train_dataloader_opts: {num_workers: 0}",
    ],
)
def test_what_a_run_may_go_on_with(overrides, tmp_path):
    Settings(HPARAMS, overrides).check(begun(tmp_path, HPARAMS))


def test_given_as_it_was_is_no_other_setting(tmp_path):
    checkpointer = begun(tmp_path, HPARAMS, "lr: 0.2")
    changed = HPARAMS.replace("lr: 0.1", "lr: 0.2")
    Settings(changed).check(checkpointer)
    assert "lr (was 0.2, is 0.1)" in refusal(checkpointer, HPARAMS)


def test_settings_of_the_newest_whole_checkpoint_count(tmp_path):
    checkpointer = begun(tmp_path, HPARAMS)
    checkpointer.recoverables["settings"].values["lr"] = 0.7
    newest = checkpointer.save_checkpoint()
    assert "lr (was 0.7" in refusal(checkpointer, HPARAMS)
    (newest.path / "layer.ckpt").unlink()
    Settings(HPARAMS).check(checkpointer)


def test_checkpoints_without_settings_are_taken(tmp_path):
    checkpointer = begun(tmp_path)
    settings = Settings(HPARAMS, "lr: 0.2")
    settings.check(checkpointer)
    checkpointer.add_recoverable("settings", settings, optional_load=True)
    assert checkpointer.recover_if_possible() is not None


def test_no_checkpoint_accepts_all(tmp_path):
    Settings(HPARAMS).check(AtomicCheckpointer(tmp_path, {}))


def test_loading_keeps_the_settings(tmp_path):
    checkpointer = begun(tmp_path, HPARAMS)
    settings = Settings(HPARAMS, "number_of_epochs: 99")
    checkpointer.recoverables["settings"] = settings
    checkpointer.recover_if_possible()
    assert settings.values["number_of_epochs"] == 99


def test_free_keys_are_keys():
    """One that is misspelt would be refused for ever."""
    keys = {"ckpt_interval_steps", "eval_precision", "num_workers"}
    for path in pathlib.Path(MINI).parent.glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        keys.update(re.findall(r"^(\w+):", text, re.MULTILINE))
    assert settings.FREE - keys == set()


def tree(folder):
    """All files below a folder, with what is in them and when it was put."""
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else None,
        )
        for path in sorted(folder.rglob("*"))
    }


def test_refused_run_touches_nothing(tmp_path, capsys):
    """Neither the copy of the hparams nor the log, as train.py is run."""
    make_mixtures(tmp_path / "data", [0.5] * 2, others=1)
    words = where(tmp_path / "data", tmp_path / "out")
    train_tiny(*words, "--number_of_epochs=1")
    before, others = tree(tmp_path / "out"), ("--lr=0.1", "--batch_size=1")
    line = ends(capsys, 1, train_tiny, *words, *others, main=train.run)
    assert "batch_size (was 4, is 1), lr (was 0.004, is 0.1)" in line
    assert tree(tmp_path / "out") == before
    history, _ = train_tiny(*words, "--number_of_epochs=2")
    assert [stats["epoch"] for stats in history] == [2]
