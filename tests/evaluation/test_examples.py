"""Which utterances a report shows, and what is kept of them."""

import numpy as np
import pytest
import torch
from model_folder import make_separator

from dpcl_dprnn.evaluation.examples import (
    choose_examples,
    find_item,
    write_examples,
)
from dpcl_dprnn.evaluation.scoring import Evaluation
from dpcl_dprnn.unmixing.unmixer import Unmixer


@pytest.mark.parametrize(
    "scores, kinds",
    [
        ({}, {}),
        ({"a": 1.0}, {"a": "best"}),
        ({"a": 1.0, "b": 2.0}, {"b": "best", "a": "worst"}),
        (
            {"a": 1.0, "b": 3.0, "c": 2.0, "d": float("nan")},
            {"b": "best", "c": "median", "a": "worst"},
        ),
    ],
)
def test_examples_are_the_best_the_median_and_the_worst(scores, kinds):
    utterances = {name: {"si-snr_i": value} for name, value in scores.items()}
    assert choose_examples(utterances) == kinds


def test_find_item():
    items = [{"id": "a"}, {"id": "b"}]
    assert find_item(items, "b") is items[1]


def test_examples_are_kept(tmp_path):
    unmixer = Unmixer(make_separator(), 2)
    rng = np.random.default_rng(0)
    items = []
    for name in "abc":
        sources = torch.from_numpy(rng.standard_normal((4000, 2))).float()
        mixture = sources.sum(dim=1)
        items.append({"id": name, "mixture": mixture, "sources": sources})
    results = Evaluation(unmixer, tmp_path, 8000)
    results.scores = {
        "masks": {
            n: {"si-snr_i": v}
            for n, v in zip("abc", (1.0, 3.0, 2.0), strict=True)
        }
    }
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "stale.npz").touch()
    write_examples(results, items)
    files = sorted((tmp_path / "examples").iterdir())
    names = ["1_best.npz", "2_median.npz", "3_worst.npz"]
    assert [path.name for path in files] == names
    for path, name in zip(files, "bca", strict=True):
        with np.load(path, allow_pickle=False) as kept:
            item = items["abc".index(name)]
            assert str(kept["name"]) == name
            assert str(kept["kind"]) == path.stem.split("_")[1]
            assert int(kept["rate"]) == 8000
            assert np.array_equal(kept["mixture"], item["mixture"])
            assert np.array_equal(kept["sources"], item["sources"].T)
            for head in ("masks", "kmeans"):
                total = kept[head].sum(axis=0)
                assert total == pytest.approx(kept["mixture"], abs=1e-5)
            points, size = kept["embeddings"].shape
            assert size == 4 and 500 < points == len(kept["speakers"])
            assert set(kept["speakers"]) == {0, 1}
