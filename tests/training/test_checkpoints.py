"""Checkpoints that show when they are whole, and hparams that stay."""

import errno
import hashlib
import logging
import shutil
import subprocess

import pytest
import torch
from refusals import refused
from speechbrain.utils.checkpoints import Checkpointer

from dpcl_dprnn.training import checkpoints
from dpcl_dprnn.training.checkpoints import (
    SUMS,
    AtomicCheckpointer,
    damage,
    write_sums,
)


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


def test_sums_do_not_sum_themselves(tmp_path):
    (tmp_path / "a").write_text("a")
    write_sums(tmp_path)
    write_sums(tmp_path)
    assert (tmp_path / SUMS).read_text().count("\n") == 1
    assert damage(tmp_path) is None


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
    with refused("Cannot save a checkpoint in") as told:
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
    with refused("No space left"):
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


def flip(content):
    middle = len(content) // 2
    changed = bytes([content[middle] ^ 1])
    return content[:middle] + changed + content[middle + 1 :]


DAMAGES = {  # the file, what becomes of its content, and what is told
    "cut": ("layer.ckpt", lambda c: c[:-100], "layer.ckpt is cut off or cha"),
    "flip": ("layer.ckpt", flip, "layer.ckpt is cut off or changed"),
    "empty": ("layer.ckpt", lambda c: b"", "layer.ckpt is cut off or changed"),
    "gone": ("layer.ckpt", None, "layer.ckpt is missing"),
    "no meta": ("CKPT.yaml", None, "CKPT.yaml is missing"),
    "empty meta": ("CKPT.yaml", lambda c: b"", "CKPT.yaml is cut off or cha"),
    "no sums": (SUMS, None, "SHA256SUMS is missing"),
    "empty sums": (SUMS, lambda c: b"", "SHA256SUMS is cut off"),
    "sums cut after a line": (
        *(SUMS, lambda c: c[: c.index(b"\n") + 1]),
        "SHA256SUMS is cut off",
    ),
    "garbage sums": (SUMS, lambda c: b"\xff\xfe\x00", "SHA256SUMS"),
    "half sums": (SUMS, lambda c: b"0123", "SHA256SUMS"),
    "no files": ("*", None, "SHA256"),
}


def spoil(folder, kind="cut"):
    """Damage a checkpoint, and tell what should be said of it."""
    pattern, change, words = DAMAGES[kind]
    for path in list(folder.glob(pattern)):
        content = path.read_bytes()
        path.unlink()
        if change is not None:
            path.write_bytes(change(content))
    return words


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_one_is_set_aside(kind, checkpointer, tmp_path, caplog):
    old, new = save_two(checkpointer)
    words = spoil(new.path, kind)
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
        spoil(saved.path)
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
    spoil(best.path)
    found = checkpointer.recover_if_possible(min_key="loss")
    assert found.path == old.path  # of loss 1; the new one has 2
    assert weight(checkpointer) == 1.0


def test_checkpoint_of_another_model(checkpointer, tmp_path):
    checkpointer.save_checkpoint()
    other = AtomicCheckpointer(tmp_path, {"layer": torch.nn.Linear(3, 2)})
    with refused("does not fit this model"):
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
