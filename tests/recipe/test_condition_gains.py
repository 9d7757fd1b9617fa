"""The comparison of conditions mixes what it says, and scores it."""

import importlib
import pathlib
import types

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML
from tiny_run import make_speech

from dpcl_dprnn.mixtures.live_sets import make_dynamic_sets, read_settings

FOLDER = pathlib.Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def conditions(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("conditions")


def arguments(**others):
    defaults = {"count": 3, "speakers": 2, "noise": None, "rooms": None}
    return types.SimpleNamespace(**{**defaults, **others})


class Perfect:
    """Gives the sources of the mixtures of a set, or the mixture itself."""

    counts, num_spks = True, 2

    def __init__(self, dataset, heard=2):
        self.items = [dataset[n] for n in range(len(dataset))]
        self.heard = heard
        self.unmixer = types.SimpleNamespace(
            heads_for=lambda n: ("masks", "kmeans")
        )

    def separate_batch(self, mix, n_spks, head=None):
        (item,) = [i for i in self.items if torch.equal(i["mixture"], mix[0])]
        count = self.heard if n_spks == "auto" else n_spks
        if head == "masks":
            return item["sources"][None, :, :count]
        return item["mixture"].expand(count, -1).T[None]


def make_set(conditions, folder, condition):
    make_speech(folder / "speech")
    settings = conditions.settings_of(condition, arguments())
    sets = make_dynamic_sets(
        *(folder / "speech", folder / "cache", settings),
        **{"num_spks": 2, "sample_rate": 8000, "training_crop": 8000},
        seed=1,
    )
    return sets["test"]


def test_gains_are_those_of_the_voices(conditions, tmp_path):
    dataset = make_set(conditions, tmp_path, "clean, full overlap")
    gains, right = conditions.score(Perfect(dataset), dataset, 2)
    assert (gains["masks"] > 30).all() and len(gains["masks"]) == 3
    assert gains["kmeans"] == pytest.approx(np.zeros(3), abs=1e-3)
    assert right == [True] * 3
    _, right = conditions.score(Perfect(dataset, heard=1), dataset, 2)
    assert right == [False] * 3


def test_those_who_take_turns_are_never_heard_at_once(conditions, tmp_path):
    dataset = make_set(conditions, tmp_path, "taking turns")
    for n in range(len(dataset)):
        first, second = dataset[n]["sources"].T.numpy() != 0
        assert first.any() and second.any() and not (first & second).any()


def test_settings_of_every_condition_are_known(conditions):
    plain = YAML().load(conditions.MINI)["dynamic_mixing"]
    for condition, changes in conditions.CONDITIONS.items():
        settings = conditions.settings_of(condition, arguments(speakers=3))
        assert settings.keys() == plain.keys()
        numbers = read_settings(settings, 3)
        assert list(numbers["speakers"]) == [3]
        for key in changes:
            assert key in numbers
