"""The comparison of trainings runs each row once, and tells what came out."""

import importlib
import json
import pathlib

import numpy as np
import pytest
from tiny_run import make_speech

from dpcl_dprnn.training.options import load_hparams, parse_command_line

FOLDER = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def learning(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("learning")


@pytest.fixture
def heads(learning):
    return importlib.import_module("heads")


def test_rows_are_trained_once(learning, tmp_path, capsys):
    make_speech(tmp_path / "speech")
    out = tmp_path / "out.jsonl"
    words = f"--speech {tmp_path / 'speech'} --out {out} --rows".split()
    words += ["SpeechBrain's start and clipping, a falling 2e-3", "mini.yaml"]
    sizes = "--seeds 1 --steps 2 --valid 2 --test 2"
    learning.main([*words, *sizes.split()])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["row"] for row in rows] == [
        "SpeechBrain's start and clipping, a falling 2e-3",
        "mini.yaml",
    ]
    assert [row["steps"] for row in rows] == [2, 2]
    each = rows[1]["test_results_each"]
    assert len(each) == 2
    assert sum(each) / 2 == pytest.approx(rows[1]["test_results"], abs=1e-3)
    # With SpeechBrain's start, masks are far from the mixture.
    assert rows[0]["train"] < -3 < -0.5 < rows[1]["train"]
    learning.main([*words, *sizes.split()])
    assert len(out.read_text().splitlines()) == 2
    assert (
        "| SpeechBrain's start and clipping, a falling 2e-3 | 1 | "
        in capsys.readouterr().out
    )


def test_table_has_means_and_spreads(learning):
    results = [
        {
            **{"speech": "x", "size": "8 min", "row": "lr 2e-3", "seed": seed},
            **{"train": 5.0 + seed, "valid": 4.0, "test_results": -1.5 * seed},
        }
        for seed in (1, 2, 3)
    ]
    other = {**results[0], "size": "2 min"}
    *_, last = learning.table([*results, other], "x", "8 min").splitlines()
    assert last == (
        "| lr 2e-3 | 3 | 7.00 (6.00 to 8.00) | 4.00 (4.00 to 4.00) | "
        "-3.00 (-4.50 to -1.50) |  |"
    )


def test_heads_are_compared_mixture_by_mixture(heads):
    key = {"speech": "x", "size": "8 min", "speakers": 2, "steps": 10}
    worse, better = [1.0, 9.0, -1.0], [1.5, 9.5, -0.5]
    results = [
        {**key, "row": "masks", "seed": 1, "test_results_each": worse},
        {**key, "row": "masks", "seed": 2, "test_results_each": worse},
        {**key, "row": "masks", "seed": 3, "test_results_each": [50.0] * 3},
        {
            **key,
            "row": "both, weight 1",
            "seed": 1,
            "test_results_each": better,
        },
        {
            **key,
            "row": "both, weight 1",
            "seed": 2,
            "test_results_each": better,
        },
    ]
    other = {**results[0], "speakers": 3}
    *_, last = heads.table([*results, other], "x", "8 min", 2).splitlines()
    cells = [cell.strip() for cell in last.strip("|").split("|")]
    assert cells[:3] == ["both, weight 1", "2", "10"]
    assert cells[3].startswith("3.50 (")
    assert cells[4] == "+0.50 (+0.50 to +0.50)"
    assert cells[5:] == ["33%", "", ""]


def test_interval_is_that_of_the_mean(heads):
    rng = np.random.default_rng(0)
    each = rng.normal(5.0, 2.0, (4, 400))
    mean, low, high = heads.interval(each, rng)
    assert mean == each.mean()
    # Of mixtures alone it would be +-0.1; seeds are four.
    assert 0.05 < mean - low < 0.4 and 0.05 < high - mean < 0.4


def test_rows_of_heads_are_ones_that_train_takes(heads, tmp_path):
    for row, settings in heads.ROWS.items():
        settings = dict(settings)
        file = settings.pop("hparams", "hparams/mini.yaml")
        words = [f"--{key}={value}" for key, value in settings.items()]
        words += ["--speech_folder=x", f"--output_folder={tmp_path}"]
        file, _, overrides = parse_command_line([file, *words])
        hparams, _ = load_hparams(heads.learning.RECIPE / file, overrides)
        has = "masks" in hparams["separator"].heads
        assert has == (row != "embeddings, BLSTM")
        assert ("kmeans" in hparams["separator"].heads) == (row != "masks")
