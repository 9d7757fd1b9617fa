"""The comparison of trainings runs each row once, and tells what came out."""

import importlib
import json
import pathlib

import pytest
from tiny_run import make_speech

FOLDER = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def learning(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("learning")


def test_rows_are_trained_once(learning, tmp_path, capsys):
    make_speech(tmp_path / "speech")
    out = tmp_path / "out.jsonl"
    words = f"--speech {tmp_path / 'speech'} --out {out} --rows mini.yaml all"
    sizes = "--seeds 1 --steps 2 --valid 2 --test 2"
    learning.main(f"{words} {sizes}".split())
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["row"] for row in rows] == ["mini.yaml", "all"]
    # With the old start, masks are far from the mixture.
    assert rows[0]["train"] < -10 < -3 < rows[1]["train"]
    learning.main(f"{words} {sizes}".split())
    assert len(out.read_text().splitlines()) == 2
    assert "| all | 1 | " in capsys.readouterr().out


def test_table_has_means_and_spreads(learning):
    results = [
        {
            **{"speech": "x", "size": "8 min", "row": "all", "seed": seed},
            **{"train": 5.0 + seed, "valid": 4.0, "test_results": -1.5 * seed},
        }
        for seed in (1, 2, 3)
    ]
    other = {**results[0], "size": "2 min"}
    *_, last = learning.table([*results, other], "x", "8 min").splitlines()
    assert last == (
        "| all | 3 | 7.00 (6.00 to 8.00) | 4.00 (4.00 to 4.00) | "
        "-3.00 (-4.50 to -1.50) |  |"
    )
