"""An item made on the fly is a function of seed, epoch and index."""

import numpy as np
import pytest
from speech_in_memory import GROUPS, Sounds, contents, make_speech, mixtures
from torch.utils.data import DataLoader

from dpcl_dprnn.mixtures.live import DynamicMixtures, Mixer
from dpcl_dprnn.training.schedule import EarlyStopping


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    return make_speech(tmp_path_factory.mktemp("speech"))


ALL_OPTIONS = {
    "num_spks": 3,
    "speakers": (2, 3),
    "crop": 2000,
    "speeds": (90, 100, 110),
    "overlap": (0.5, 1.0),
    "snr_db": (0.0, 10.0),
}


@pytest.fixture
def everything(speech):
    """All options at once, with noise and rooms."""
    return {**ALL_OPTIONS, "noise": speech, "rooms": speech}


def test_items_repeat_in_any_order(speech, everything):
    dataset = mixtures(speech, **everything)
    forwards = contents(dataset[n] for n in range(12))
    backwards = contents(dataset[n] for n in reversed(range(12)))
    again = contents(mixtures(speech, **everything))
    assert len(forwards) == 12 and forwards == backwards == again


@pytest.mark.parametrize(
    "change", [{"epoch": 2}, {"seed": (2, 0)}, {"seed": (1, 1)}], ids=str
)
def test_epoch_and_seed_make_other_items(change, speech, everything):
    one = contents(mixtures(speech, **everything))
    other = contents(mixtures(speech, **everything, **change))
    assert len({mixture for mixture, _ in one.values()}) == 12
    assert not set(one.values()) & set(other.values())


def test_without_an_epoch_counter_all_epochs_are_one(speech):
    dataset = DynamicMixtures(Mixer(speech), GROUPS, 5, [1])
    assert contents(dataset) == contents(dataset)
    assert {name.split("-")[0] for name in contents(dataset)} == {"0"}


def test_chances_are_of_the_epochs_gone_by(speech):
    asked = []

    def chances(epochs):
        asked.append(epochs)
        return np.array([0.5, 0.5, 0.0, 0.0])

    dataset = mixtures(speech, 4, epoch=3)
    dataset.chances = chances
    names = list(contents(dataset))
    assert asked == [2] * 4
    heard = {part for name in names for part in name.split("_")[1::2]}
    assert heard <= {"u0", "u1", "u2", "u3"}


def test_length_and_index(speech):
    dataset = mixtures(speech, count=3)
    assert len(dataset) == len(list(dataset)) == 3
    for index in (-1, 3):
        with pytest.raises(IndexError):
            dataset[index]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
@pytest.mark.parametrize(
    "workers, context, persistent",
    [
        (0, None, False),
        (1, None, False),
        (4, None, False),
        (2, None, True),
        (1, "spawn", True),
    ],
)
def test_workers_make_the_same_items(
    workers, context, persistent, speech, everything
):
    """Those that live for two epochs hear of the second one."""
    counter = EarlyStopping(2, 9, 0, "min")
    dataset = DynamicMixtures(
        Mixer(speech, **everything), GROUPS, 12, (1, 0), counter
    )
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context=context,
        persistent_workers=persistent,
    )
    for epoch in counter:
        wanted = contents(mixtures(speech, epoch=epoch, **everything))
        assert contents(loader) == wanted
    assert epoch == 2


def test_ids_can_be_names_of_files(tmp_path):
    """Separated voices are written under them."""
    signals = {f"{letter}{100 * 'ü'}": np.ones(9) for letter in "abcde"}
    dataset = mixtures(
        Sounds(**signals),
        groups=[[n] for n in range(5)],
        num_spks=5,
        speakers=(5,),
    )
    names = [item["id"] for item in dataset]
    assert len(set(names)) == len(dataset)
    for name in names:
        (tmp_path / f"{name}_kmeans_s5.wav").write_text("")
        assert sorted(part[:3] for part in name.split("_")[1::2]) == [
            f"{letter}üü" for letter in "abcde"
        ]
