"""Several processes are as good as one: parts, errors, and whole runs."""

import csv
import functools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from ranks import endings, on_ranks
from tiny_run import MINI, TINY, make_mixtures, make_speech, train_tiny, where

import train
from dpcl_dprnn.common import distributed
from dpcl_dprnn.common.distributed import Shard, gather, highest, on_main, place
from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.training.checkpoints import damage


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("items", [0, 1, 4, 7])
def test_shards_cover_everything_once(ranks, items, monkeypatch):
    dataset = [f"item {n}" for n in range(items)]
    seen, sizes = [], []
    for rank in range(ranks):
        monkeypatch.setattr(distributed, "place", lambda r=rank: (r, ranks))
        shard = Shard(dataset)
        seen += torch.utils.data.DataLoader(shard, batch_size=None)
        sizes.append(len(shard))
    assert sorted(seen) == dataset
    assert max(sizes) - min(sizes) <= 1


def test_a_single_process():
    assert place() == (0, 1)
    assert gather({"a": 1}) == [{"a": 1}]
    assert highest([True, False, 0.5], "cpu") == [1.0, 0.0, 0.5]
    assert on_main(lambda number: number + 1, number=1) == 2


def exchange(folder):
    """What each process sends, gets and is told."""
    rank, ranks = place()
    calls = []

    def work(number):
        calls.append(number)
        (folder / f"written by {rank}").touch()
        return number + 1

    def fail():
        raise UserError("Mend it.")

    result = on_main(work, number=4)
    try:
        on_main(fail)
    except UserError as error:
        told = str(error)
    return {
        "place": (rank, ranks),
        "gathered": gather({"rank": rank}),
        "highest": highest([rank == 0, rank == 2, False, rank / 2], "cpu"),
        "result": result,
        "calls": calls,
        "told": told,
    }


def test_three_processes(tmp_path):
    results = on_ranks(functools.partial(exchange, tmp_path), tmp_path / "r", 3)
    for rank, result in enumerate(results):
        assert result == {
            "place": (rank, 3),
            "gathered": [{"rank": 0}, {"rank": 1}, {"rank": 2}],
            "highest": [1.0, 1.0, 0.0, 1.0],
            "result": 5,
            "calls": [4] if rank == 0 else [],
            "told": "Mend it.",
        }
    assert [path.name for path in tmp_path.glob("w*")] == ["written by 0"]


# Whole runs of train.py


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    make_mixtures(folder / "data", [0.5] * 11)
    make_mixtures(folder / "two lengths", [0.25] * 7 + [0.5] * 8)
    make_speech(folder / "speech")
    return folder


MIX = "--train_mixing={shuffle: False}"
RUNS = {
    "mixtures": ("--data_folder=data", MIX),
    "two lengths": ("--data_folder=two lengths", MIX),
    "on the fly": (
        "--speech_folder=speech",
        "--dynamic_mixing={train: 10, valid: 3, test: 3}",
        "--grad_accumulation_factor=2",
        "--loss_weights={level: 0.2}",
    ),
}


def shared_run(folder, name, ranks):
    """One of `RUNS`, and the files that it opens for writing."""
    output, writes = folder / "output" / f"{name} {ranks}", set()

    def audit(event, arguments):
        if event == "open" and isinstance(arguments[0], str | os.PathLike):
            path = pathlib.Path(arguments[0])
            written = arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if written and path.is_relative_to(output):
                writes.add(path.name)

    if ranks > 1:  # a process of its own, as hooks stay
        sys.addaudithook(audit)
    words = [w.replace("_folder=", f"_folder={folder}/") for w in RUNS[name]]
    if name == "two lengths":
        words.append(f"--max_batch_seconds={2.5 / ranks}")
    history, weights = train_tiny(
        *(*words, f"--output_folder={output}"),
        f"--batch_size={4 // ranks}",
        main=train.run,
    )
    return {"history": history, "weights": weights, "writes": writes}


@pytest.fixture(scope="module")
def runs(folder):
    """Of each name: the results of one process, and of each of two."""
    return {
        name: [
            shared_run(folder, name, 1),
            *on_ranks(
                functools.partial(shared_run, folder, name, 2),
                folder / "ranks" / name,
                group=False,
            ),
        ]
        for name in RUNS
    }


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_as_one(name, runs):
    alone, first, second = runs[name]
    assert len(alone["history"]) == len(first["history"]) == 2
    for got, wanted in zip(first["history"], alone["history"], strict=True):
        assert got["epoch"] == wanted["epoch"]
        for stage in ("train", "valid"):
            assert got[stage].keys() == wanted[stage].keys()
            parts = {"loss", "pit", "dpcl"}
            if name == "on the fly":
                parts.add("level")
            assert parts <= wanted[stage].keys()
            for part in parts:
                value = wanted[stage][part]
                assert got[stage][part] == pytest.approx(
                    value, rel=1e-6, abs=1e-5
                )
    for key, value in alone["weights"].items():
        assert torch.equal(first["weights"][key], second["weights"][key])
        torch.testing.assert_close(
            first["weights"][key], value, atol=1e-5, rtol=0
        )


def test_training_changes_the_loss(runs):
    """Or two runs that agree would say little."""
    for name in RUNS:
        one, two = runs[name][0]["history"]
        assert abs(one["train"]["loss"] - two["train"]["loss"]) > 1e-2


@pytest.mark.parametrize("name", RUNS)
def test_one_process_writes(name, runs):
    _, first, second = runs[name]
    assert {"train_log.txt", "log.txt", "CKPT.yaml"} <= first["writes"]
    assert not second["writes"]


def score_all(folder, output):
    """Test a run, as train.py does after training."""
    words = (*where(folder / "data", output), "--batch_size=2", "--test_only")
    train_tiny(*words, evaluate=True, main=train.run)


@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_score_as_one(ranks, folder, scored):
    """Three test mixtures, in the same order and to a thousandth of a dB."""
    output = folder / f"scored by {ranks}"
    shutil.copytree(scored, output)
    before = {path: read_cells(path) for path in output.glob("test_*.csv")}
    assert {path.name for path in before} >= {
        *("test_results.csv", "test_results_kmeans.csv")
    }
    for path in before:
        path.unlink()
    score = functools.partial(score_all, folder, output)
    on_ranks(score, folder / "ranks" / output.name, ranks, group=False)
    for path, cells in before.items():
        wanted = pytest.approx(cells, abs=1e-3, nan_ok=True)
        assert read_cells(path) == wanted, path.name


def read_cells(path):
    """The cells of a CSV file, row by row: numbers, and texts."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [cell(text) for row in csv.reader(lines) for text in row]


def cell(text):
    try:
        return float(text)
    except ValueError:
        return text


@pytest.fixture(scope="module")
def scored(folder):
    """The output folder of a run of one process."""
    words = ("--batch_size=2", "--number_of_epochs=1")
    places = where(folder / "data", folder / "scored")
    train_tiny(*words, *places, evaluate=True)
    return folder / "scored"


# Processes that end


def happen(act, when):
    """Have train.py do something in a stage, an epoch and a batch of it."""
    objectives = train.Separation.compute_objectives

    def compute(brain, predictions, batch, stage):
        if (stage.name, brain.epoch, brain.step) == when:
            act(brain)
        return objectives(brain, predictions, batch, stage)

    train.Separation.compute_objectives = compute


def train_until(act, when, folder, name, *words):
    """Run train.py in which something happens."""
    if act is not None:
        happen(act, when)
    places = where(folder / "data", folder / name)
    return train_tiny(*places, "--batch_size=2", *words, main=train.run)


def run_until(act, when, folder, name, *words):
    run = functools.partial(train_until, act, when, folder, name, *words)
    return endings(run, folder / "ends" / name)


def said_in(text):
    """What train.py says, and that there is no traceback."""
    assert "Traceback" not in text, text
    return [line for line in text.splitlines() if "train.py:" in line]


def die(brain):
    if place()[0] == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def gather_files(folder):
    """The IDs of both processes, without a call that one may wait in."""
    rank, ranks = place()
    paths = [pathlib.Path(folder) / f"pid{n}" for n in range(ranks)]
    paths[rank].with_suffix(".new").write_text(str(os.getpid()))
    paths[rank].with_suffix(".new").rename(paths[rank])
    while not all(path.exists() for path in paths):
        time.sleep(0.01)
    return [int(path.read_text()) for path in paths]


def die_and_terminate(brain):
    """As torchrun does to the others when one has died."""
    pids = gather_files(brain.hparams.output_folder)
    if place()[0] == 1:
        os.kill(pids[0], signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    "act, when",
    [
        (die, ("TRAIN", 2, 2)),
        (die, ("VALID", 2, 1)),
        (die_and_terminate, ("TRAIN", 2, 2)),
        (die_and_terminate, ("VALID", 2, 1)),
    ],
)
def test_process_that_is_killed_ends_the_other(act, when, folder):
    name = f"{act.__name__} in {when[0]}"
    first, second = run_until(act, when, folder, name)
    assert second[0] == -signal.SIGKILL
    (line,) = said_in(first[1])
    lost = "train.py: error: Another process of this run has ended"
    stopped = "train.py: stopped by SIGTERM. "
    if act is die:
        assert first[0] == 1 and line.startswith(lost)
    elif when[0] == "VALID":
        assert first[0] == 143 and line.startswith(stopped)
    else:  # whichever it notices first
        assert first[0] in (1, 143) and line.startswith((lost, stopped))
        assert first[0] == 1 or "are lost" in line
    assert_whole(folder / name)


def assert_whole(folder):
    checkpoints = list((folder / "save").glob("CKPT+*"))
    assert checkpoints
    assert not [damage(path) for path in checkpoints if damage(path)]


DRIVER = """
import sys
sys.path[:0] = {path!r}
import test_distributed, train
test_distributed.happen(test_distributed.die, ("TRAIN", 2, 2))
train.run(sys.argv[1:])
"""


def test_torchrun_ends_when_a_process_is_killed(folder, tmp_path):
    """Within a minute, with a line of ours beside its own."""
    driver, results = tmp_path / "driver.py", tmp_path / "results"
    driver.write_text(DRIVER.format(path=sys.path), encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node=2", driver, MINI, *TINY),
            *(f"--data_folder={folder / 'data'}", "--batch_size=2"),
            f"--output_folder={results}",
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode != 0
    (line,) = [x for x in done.stderr.splitlines() if x.startswith("train.py:")]
    assert "Another process" in line and "the same command goes on" in (
        line.replace("The same", "the same")
    )
    checkpoints = list((results / "save").glob("CKPT+*"))
    assert checkpoints
    assert not [damage(path) for path in checkpoints if damage(path)]


def terminate(brain):
    os.kill(os.getpid(), signal.SIGTERM)


def terminate_when_the_first_waits(brain):
    """It is in a call that the second has still to make."""
    pids = gather_files(brain.hparams.output_folder)
    if place()[0] == 1:
        time.sleep(0.5)
        for pid in pids:
            os.kill(pid, signal.SIGTERM)


@pytest.mark.parametrize(
    "act, when",
    [
        (terminate, ("TRAIN", 2, 2)),
        (terminate, ("VALID", 2, 1)),
        (terminate_when_the_first_waits, ("TRAIN", 2, 2)),
        (terminate_when_the_first_waits, ("VALID", 2, 1)),
    ],
)
def test_all_stop_together_and_go_on(act, when, folder, runs):
    name = f"{act.__name__} in {when[0]}"
    words = (MIX, "--train_dataloader_opts={drop_last: False, num_workers: 1}")
    ends = run_until(act, when, folder, name, *words)
    assert [status for status, _ in ends] == [143, 143], ends
    (line,) = said_in(ends[0][1])
    assert line.startswith("train.py: stopped by SIGTERM.")
    assert not said_in(ends[1][1])
    run = functools.partial(train_until, None, when, folder, name, *words)
    results = on_ranks(run, folder / "goes on" / name, group=False)
    _, first, _ = runs["mixtures"]
    for _, weights in results:
        for key, value in first["weights"].items():
            assert torch.equal(weights[key], value)


class BadItems(torch.utils.data.Dataset):
    """A dataset that the second process cannot read."""

    def __init__(self, dataset):
        self.dataset, self.rank = dataset, place()[0]
        self.data, self.data_ids = dataset.data, dataset.data_ids

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        if self.rank == 1:
            raise UserError("a.wav is gone. Make it again.")
        return self.dataset[index]


def train_on_bad_items(folder, split, workers):
    make = train.make_datasets

    def replace(hparams):
        sets = make(hparams)
        return {**sets, split: BadItems(sets[split])}

    train.make_datasets = replace
    options = f"--train_dataloader_opts={{num_workers: {workers}}}"
    train_until(None, None, folder, f"bad {split} {workers}", options)


@pytest.mark.parametrize("split, workers", [("train", 1), ("valid", 0)])
def test_error_of_one_process_is_told(split, workers, folder):
    ends = endings(
        functools.partial(train_on_bad_items, folder, split, workers),
        folder / "ends" / f"bad {split}",
    )
    assert [status for status, _ in ends] == [1, 1]
    (lost,) = said_in(ends[0][1])
    assert "Another process of this run has ended" in lost
    line = "train.py: error: a.wav is gone. Make it again."
    assert ends[1][1].splitlines()[-1] == line
