"""Checkpoints that show when they are whole, and hparams that stay."""

import errno
import hashlib
import json
import logging
import pathlib
import shutil
import subprocess

import pytest
import torch
from speechbrain.utils.checkpoints import Checkpointer
from tiny_run import MINI, make_mixtures, train_tiny

import train
from dpcl_dprnn import checkpoints
from dpcl_dprnn.checkpoints import (
    AtomicCheckpointer,
    Settings,
    damage,
    write_sums,
)
from dpcl_dprnn.errors import UserError


@pytest.fixture
def checkpointer(tmp_path):
    layer = torch.nn.Linear(2, 2)
    return AtomicCheckpointer(tmp_path, recoverables={"layer": layer})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def set_weight(checkpointer, value):
    with torch.no_grad():
        checkpointer.recoverables["layer"].weight.fill_(value)


def weight(checkpointer):
    return checkpointer.recoverables["layer"].weight[0, 0].item()


def save_two(checkpointer):
    """An old checkpoint of weights 1 and a newest one of weights 2."""
    saved = []
    for value in (1.0, 2.0):
        set_weight(checkpointer, value)
        saved.append(checkpointer.save_checkpoint(meta={"loss": value}))
    set_weight(checkpointer, 0.0)
    return saved


# Saving


def test_saves_and_finds(checkpointer, tmp_path):
    saved = checkpointer.save_checkpoint(meta={"loss": 1.0})
    found = checkpointer.find_checkpoint(min_key="loss")
    assert found.path == saved.path
    assert found.paramfiles == saved.paramfiles
    assert names(tmp_path) == [saved.path.name]
    assert saved.path.name.startswith("CKPT+")


def test_name_comes_last(checkpointer, tmp_path, monkeypatch):
    """What has the name has all files, with their sums, on the disk."""
    synced, renamed = set(), []
    sync, rename = checkpoints.sync, type(tmp_path).rename

    def watch(path, target):
        renamed.append((path.name, target.name))
        files = set(path.iterdir())
        assert {"CKPT.yaml", "layer.ckpt", "SHA256SUMS"} == set(names(path))
        assert files | {path} <= synced
        assert damage(path) is None
        return rename(path, target)

    def count(path):
        synced.add(path)
        sync(path)

    monkeypatch.setattr(checkpoints, "sync", count)
    monkeypatch.setattr(type(tmp_path), "rename", watch)
    saved = checkpointer.save_checkpoint()
    assert renamed == [("partial+" + saved.path.name, saved.path.name)]
    assert tmp_path in synced


def test_sums_are_those_of_sha256sum(checkpointer):
    saved = checkpointer.save_checkpoint()
    lines = (saved.path / "SHA256SUMS").read_text().splitlines()
    wanted = [
        f"{hashlib.sha256((saved.path / name).read_bytes()).hexdigest()}  {name}"
        for name in ("CKPT.yaml", "layer.ckpt")
    ]
    assert lines == wanted
    if shutil.which("sha256sum"):
        command = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
        subprocess.run(command, cwd=saved.path, check=True, capture_output=True)


def fill_disk(monkeypatch, error, function="save"):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(torch, function, fail)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("PytorchStreamWriter failed writing file data/0"),
    ],
)
def test_full_disk(checkpointer, tmp_path, monkeypatch, error):
    good = checkpointer.save_checkpoint(meta={"loss": 1.0})
    before = good.paramfiles["layer"].read_bytes()
    fill_disk(monkeypatch, error)
    with pytest.raises(UserError, match="Cannot save a checkpoint in") as told:
        checkpointer.save_and_keep_only(meta={"loss": 0.5}, min_keys=["loss"])
    assert str(tmp_path) in str(told.value) and "space" in str(told.value)
    assert names(tmp_path) == [good.path.name]
    assert good.paramfiles["layer"].read_bytes() == before
    assert checkpointer.recover_if_possible().path == good.path


@pytest.mark.parametrize("function", ["write_sums", "sync"])
def test_full_disk_at_the_end(checkpointer, tmp_path, monkeypatch, function):
    good = checkpointer.save_checkpoint()

    def fail(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, function, fail)
    with pytest.raises(UserError, match="No space left"):
        checkpointer.save_checkpoint()
    assert names(tmp_path) == [good.path.name]


def test_killed_while_saving(checkpointer, tmp_path, monkeypatch):
    good = checkpointer.save_checkpoint()
    with monkeypatch.context() as patch:
        fill_disk(patch, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            checkpointer.save_checkpoint()
    assert len(names(tmp_path)) == 2
    assert checkpointer.recover_if_possible().path == good.path
    newest = checkpointer.save_checkpoint()
    assert names(tmp_path) == sorted([good.path.name, newest.path.name])


# Damage


def cut(path):
    content = (path / "layer.ckpt").read_bytes()
    (path / "layer.ckpt").write_bytes(content[:-100])


def flip(path):
    content = bytearray((path / "layer.ckpt").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "layer.ckpt").write_bytes(bytes(content))


def shorten(path):
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))


DAMAGES = {
    "cut": (cut, "layer.ckpt is cut off or changed"),
    "flip": (flip, "layer.ckpt is cut off or changed"),
    "empty": (
        lambda path: (path / "layer.ckpt").write_bytes(b""),
        "layer.ckpt is cut off or changed",
    ),
    "gone": (
        lambda path: (path / "layer.ckpt").unlink(),
        "layer.ckpt is missing",
    ),
    "no meta": (
        lambda path: (path / "CKPT.yaml").unlink(),
        "CKPT.yaml is missing",
    ),
    "empty meta": (
        lambda path: (path / "CKPT.yaml").write_text(""),
        "CKPT.yaml is cut off or changed",
    ),
    "no sums": (
        lambda path: (path / "SHA256SUMS").unlink(),
        "SHA256SUMS is missing",
    ),
    "empty sums": (
        lambda path: (path / "SHA256SUMS").write_text(""),
        "SHA256SUMS is cut off",
    ),
    "sums cut after a line": (
        lambda path: shorten(path / "SHA256SUMS"),
        "SHA256SUMS is cut off",
    ),
    "garbage sums": (
        lambda path: (path / "SHA256SUMS").write_bytes(b"\xff\xfe\x00"),
        "SHA256SUMS",
    ),
    "half sums": (
        lambda path: (path / "SHA256SUMS").write_text("0123"),
        "SHA256SUMS",
    ),
    "no files": (lambda path: [f.unlink() for f in path.iterdir()], "SHA256"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_one_is_set_aside(kind, checkpointer, tmp_path, caplog):
    old, new = save_two(checkpointer)
    spoil, words = DAMAGES[kind]
    spoil(new.path)
    left = {path.name: path.read_bytes() for path in new.path.iterdir()}
    assert checkpointer.newest_whole() == old.path
    assert names(tmp_path) == sorted([old.path.name, new.path.name])
    with caplog.at_level(logging.WARNING):
        assert checkpointer.recover_if_possible().path == old.path
    assert weight(checkpointer) == 1.0
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    aside = tmp_path / f"damaged+{new.path.name}"
    for word in (str(new.path), words, aside.name):
        assert word in record.getMessage()
    assert names(tmp_path) == sorted([old.path.name, aside.name])
    assert left == {path.name: path.read_bytes() for path in aside.iterdir()}
    caplog.clear()  # it is told once, and does not stand in the way
    checkpointer.save_checkpoint(meta={"loss": 3.0})
    checkpointer.delete_checkpoints(num_to_keep=1)
    checkpointer.recover_if_possible()
    assert not [r for r in caplog.records if r.levelno == logging.WARNING]
    assert aside.is_dir() and len(names(tmp_path)) == 2


def test_all_are_damaged(checkpointer, tmp_path):
    for saved in save_two(checkpointer):
        cut(saved.path)
    assert checkpointer.recover_if_possible() is None
    assert checkpointer.newest_whole() is None
    assert all(name.startswith("damaged+") for name in names(tmp_path))
    assert weight(checkpointer) == 0.0


def test_file_that_looks_like_a_checkpoint(checkpointer, tmp_path):
    saved = checkpointer.save_checkpoint()
    (tmp_path / "CKPT+notes").write_text("not a folder")
    assert checkpointer.recover_if_possible().path == saved.path
    assert len(names(tmp_path)) == 2


def test_best_is_taken_of_those_that_are_whole(checkpointer):
    old, new = save_two(checkpointer)
    best = checkpointer.save_checkpoint(meta={"loss": 0.5})
    cut(best.path)
    found = checkpointer.recover_if_possible(min_key="loss")
    assert found.path == old.path  # of loss 1; the new one has 2
    assert weight(checkpointer) == 1.0


def test_checkpoint_of_another_model(checkpointer, tmp_path):
    checkpointer.save_checkpoint()
    other = AtomicCheckpointer(tmp_path, {"layer": torch.nn.Linear(3, 2)})
    with pytest.raises(UserError, match="does not fit this model"):
        other.recover_if_possible()


# Deletion

RANKINGS = [
    {},
    {"num_to_keep": 2},
    {"num_to_keep": 0},
    {"num_to_keep": 1, "min_keys": ["loss"]},
    {"num_to_keep": 2, "min_keys": ["loss"]},
    {"num_to_keep": 1, "max_keys": ["loss"], "importance_keys": ()},
    {"num_to_keep": 2, "min_keys": ["loss"], "importance_keys": ()},
    {"num_to_keep": 1, "min_keys": ["loss"], "max_keys": ["score"]},
    {
        "num_to_keep": 1,
        "importance_keys": (lambda found: found.meta.get("score", 0),),
    },
    {"num_to_keep": 1, "ckpt_predicate": lambda found: "score" in found.meta},
]
METAS = [
    *({"loss": 2.0}, {"loss": 1.0, "score": 3}, {"loss": 3.0}, {"score": 7}),
    *({"loss": 1.0}, {"loss": 2.5, "score": 1}, {}),
]


@pytest.mark.parametrize("ranking", RANKINGS, ids=lambda r: ",".join(r))
def test_keeps_what_speechbrain_keeps(ranking, tmp_path):
    ours = AtomicCheckpointer(tmp_path / "ours", {"a": torch.nn.Linear(1, 1)})
    for time, meta in enumerate(METAS):
        ours.save_checkpoint(meta={**meta, "unixtime": float(time)})
    shutil.copytree(tmp_path / "ours", tmp_path / "theirs")
    theirs = Checkpointer(tmp_path / "theirs", ours.recoverables)
    before = names(tmp_path / "ours")
    ours.delete_checkpoints(**ranking)
    theirs.delete_checkpoints(**ranking)
    after = names(tmp_path / "ours")
    assert after == names(tmp_path / "theirs")
    assert len(after) < len(before) == len(METAS)


def test_killed_while_deleting(checkpointer, tmp_path, monkeypatch):
    """No half of a checkpoint is left under its name."""
    save_two(checkpointer)
    newest = checkpointer.save_checkpoint()
    remove = shutil.rmtree

    def die(path, **options):
        (path / "layer.ckpt").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            checkpointer.delete_checkpoints(num_to_keep=1)
    assert shutil.rmtree is remove
    shown = [name for name in names(tmp_path) if name.startswith("CKPT+")]
    assert newest.path.name in shown
    assert not [name for name in shown if damage(tmp_path / name)]
    assert checkpointer.recover_if_possible().path == newest.path
    checkpointer.delete_checkpoints(num_to_keep=1)
    assert names(tmp_path) == [newest.path.name]


# Settings

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
precision: !apply:dpcl_dprnn.training.fastest_precision
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
    with pytest.raises(UserError) as caught:
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
        keys.update(top_level(path.read_text(encoding="utf-8")))
    assert checkpoints.FREE - keys == set()


def top_level(text):
    """The keys at the left edge of a YAML file."""
    lines = (line.partition(":") for line in text.splitlines())
    return [key for key, colon, _ in lines if colon and key.isidentifier()]


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
    words = (
        f"--data_folder={tmp_path / 'data'}",
        f"--output_folder={tmp_path / 'out'}",
    )
    train_tiny(*words, "--number_of_epochs=1")
    before = tree(tmp_path / "out")
    with pytest.raises(SystemExit):
        train_tiny(*words, "--lr=0.1", "--batch_size=1", main=train.run)
    (line,) = [x for x in capsys.readouterr().err.splitlines() if "error" in x]
    assert "batch_size (was 4, is 1), lr (was 0.002, is 0.1)" in line
    assert tree(tmp_path / "out") == before
    history, _ = train_tiny(*words, "--number_of_epochs=2")
    assert [stats["epoch"] for stats in history] == [2]


def test_sums_do_not_sum_themselves(tmp_path):
    (tmp_path / "a").write_text("a")
    write_sums(tmp_path)
    write_sums(tmp_path)
    assert (tmp_path / "SHA256SUMS").read_text().count("\n") == 1
    assert damage(tmp_path) is None
    (tmp_path / "a").write_text("b")
    assert damage(tmp_path) == "a is cut off or changed"
