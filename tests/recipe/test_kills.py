"""A run that ends in any way goes on by the same command, bit for bit."""

import contextlib
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys

import pytest
import torch
from outcomes import checkpoints, read
from tiny_run import make_mixtures, make_speech, train_tiny

import train
from dpcl_dprnn.training.checkpoints import SUMS, damage

KILLS = pathlib.Path(__file__).parents[2] / "benchmarks" / "kills.py"
# Seven batches, so that the last of four steps of an epoch has one alone.
WORDS = (
    *("--batch_size=2", "--grad_accumulation_factor=2", "--lr=0.01"),
    *("--ckpt_interval_steps=2", "--number_of_epochs=3"),
)
SPEECH = "--dynamic_mixing={train: 13, valid: 2, test: 2}"


def test_killed_at_random(tmp_path):
    """A short form of the benchmark: SIGKILL and SIGTERM at any instant."""
    out = tmp_path / "kills.json"
    options = "--kills 5 --sigterm 0.4 --steps 12 --no_report --trainings"
    done = subprocess.run(
        [
            *(sys.executable, KILLS, *options.split(), "mixtures", "speech"),
            *("--out", out),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["kills"] == found["resumed"] == len(found["rows"]) == 5
    assert found["identical"] and not found["lost_checkpoints"]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The options of both kinds of data."""
    folder = tmp_path_factory.mktemp("sources")
    mixtures = make_mixtures(folder / "mixtures", [0.5] * 13, others=2)
    speech = make_speech(folder / "speech")
    return {
        "mixtures": (f"--data_folder={mixtures}",),
        "speech": (f"--speech_folder={speech}", SPEECH),
    }


@pytest.fixture(scope="module", params=["mixtures", "speech"])
def whole(request, sources, tmp_path_factory):
    """The words, history and weights of a run that was not disturbed."""
    words = (*WORDS, *sources[request.param])
    return words, *run(words, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def killed(whole, tmp_path_factory):
    """The folder of a run that was killed in the third step of epoch 2."""
    folder = tmp_path_factory.mktemp("killed")
    with losses(("TRAIN", 2, 5)), pytest.raises(KeyboardInterrupt):
        run(whole[0], folder)
    return folder


@pytest.fixture
def folder(killed, tmp_path):
    """A copy of it, for one test."""
    return shutil.copytree(killed, tmp_path / "run")


def run(words, folder, **options):
    """The history, but for times, and the weights of a run."""
    history, weights = train_tiny(
        *words, f"--output_folder={folder}", **options
    )
    for averages in history:
        averages["train"].pop("seconds")
    return history, weights


@contextlib.contextmanager
def losses(last=None):
    """List the stage, epoch and batch of every loss; a run ends at the last,
    by an exception that nothing in it expects.
    """
    seen, compute = [], train.Separation.compute_objectives

    def watch(brain, predictions, batch, stage):
        seen.append((stage.name, brain.epoch, brain.step))
        if seen[-1] == last:
            raise KeyboardInterrupt
        return compute(brain, predictions, batch, stage)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Separation, "compute_objectives", watch)
        yield seen


def assert_goes_on(whole, folder, first):
    """It trains from a batch of epoch 2 on, to what it would have been."""
    words, history, weights = whole
    with losses() as seen:
        again, got = run(words, folder)
    assert seen[0] == first
    assert again == history[1:]
    assert all(torch.equal(got[name], weights[name]) for name in weights)


def by_age(folder):
    """The checkpoints, with the newest last."""
    return sorted(
        checkpoints(folder), key=lambda x: read(x / "CKPT.yaml")["unixtime"]
    )


def test_killed_in_a_step(whole, folder):
    assert_goes_on(whole, folder, ("TRAIN", 2, 5))


def truncate(checkpoint):
    content = (checkpoint / "separator.ckpt").read_bytes()
    (checkpoint / "separator.ckpt").write_bytes(content[: len(content) // 2])


def empty(checkpoint):
    for path in checkpoint.iterdir():
        path.write_bytes(b"")


@pytest.mark.parametrize(
    "spoil",
    [
        truncate,
        empty,
        lambda checkpoint: (checkpoint / "CKPT.yaml").unlink(),
        lambda checkpoint: (checkpoint / SUMS).unlink(),
    ],
    ids=["truncated", "empty", "no CKPT.yaml", "no sums"],
)
def test_newest_checkpoint_is_damaged(spoil, whole, folder):
    """The one before is used, which is that of the end of epoch 1."""
    newest = by_age(folder)[-1]
    spoil(newest)
    assert_goes_on(whole, folder, ("TRAIN", 2, 1))
    assert (folder / "save" / f"damaged+{newest.name}").is_dir()
    log = (folder / "log.txt").read_text(encoding="utf-8")
    assert f"The checkpoint {newest} is damaged" in log


def test_full_disk(whole, folder, capsys):
    """It holds the weights, but not the optimiser's state."""
    before = {path: path.stat().st_mtime_ns for path in checkpoints(folder)}
    size = (by_age(folder)[-1] / "separator.ckpt").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, hard))
    try:
        with pytest.raises(SystemExit) as caught:
            run(whole[0], folder, main=train.run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == 1
    said = capsys.readouterr().err
    (line,) = [x for x in said.splitlines() if "error" in x.lower()]
    assert f"Cannot save a checkpoint in {folder / 'save'}: " in line
    assert "free some space" in line and "Traceback" not in said
    after = {path: path.stat().st_mtime_ns for path in checkpoints(folder)}
    assert after == before and not any(damage(path) for path in after)
    assert_goes_on(whole, folder, ("TRAIN", 2, 5))


@pytest.mark.parametrize("steps", [100, 6])
def test_killed_in_validation(steps, sources, tmp_path):
    """The epoch is not trained again, but validated, also if it has had the
    last step of all.
    """
    words = (*WORDS, *sources["mixtures"], f"--total_steps={steps}")
    history, weights = run(words, tmp_path / "whole")
    with losses(("VALID", 2, 2)), pytest.raises(KeyboardInterrupt):
        run(words, tmp_path / "killed")
    with losses() as seen:
        again, got = run(words, tmp_path / "killed")
    assert seen[:2] == [("VALID", 2, 1), ("VALID", 2, 2)]
    assert len(seen) == (2 if steps == 6 else 2 + 7 + 2)
    assert again == history[1:]
    assert all(torch.equal(got[name], weights[name]) for name in weights)


def test_early_stopping_goes_on_counting(sources, tmp_path):
    """Weights that stay give epochs 2 and 3 that are not better."""
    words = (
        *(*WORDS, *sources["mixtures"], "--lr=0", "--number_of_epochs=9"),
        "--early_stopping_epochs=2",
    )
    with losses(("VALID", 3, 1)), pytest.raises(KeyboardInterrupt):
        run(words, tmp_path)
    with losses() as seen:
        run(words, tmp_path)
    assert seen == [("VALID", 3, 1), ("VALID", 3, 2)]
    with losses() as seen:
        run(words, tmp_path)
    assert seen == []
