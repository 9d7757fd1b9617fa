"""What is fitted after training, on examples whose answer is known."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ideal import ideal_unmixer, tones
from model_folder import make_separator

from dpcl_dprnn.model.separator import Separated
from dpcl_dprnn.unmixing.calibration import calibrated
from dpcl_dprnn.unmixing.unmixer import Unmixer


class Sources(torch.utils.data.Dataset):
    """Mixtures of two or three tones."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        sources = tones(*rng.uniform(200, 3800, 3), length=400)
        if index % 2:
            sources[1] = 0  # a silent one does not count
        return {"sources": sources.T, "mixture": sources.sum(dim=0)}


def test_calibrated_hears_one_two_and_three(monkeypatch):
    unmixer = ideal_unmixer(3)
    scale = torch.tensor([[-0.5], [2.0], [40.0]])
    heard = []

    def separate_each(mixtures):
        """Ideal outputs, of their own scales."""
        heard.append(mixtures[0])
        index = len(heard) - 1
        sources = [Sources(4)[n]["sources"].T for n in (0, 0, 0, 3, 3)][index]
        return [Separated((sources / scale)[None], torch.zeros(1, 1, 1, 1))]

    monkeypatch.setattr(unmixer.separator, "separate_each", separate_each)
    monkeypatch.setattr(
        Unmixer, "speaker_score", lambda self, mixture, embeddings: len(heard)
    )
    monkeypatch.setattr(
        "dpcl_dprnn.unmixing.calibration.calibrate",
        lambda scores, counts, most: [scores, counts, most],
    )
    monkeypatch.setattr(
        unmixer.separator, "parameters", lambda: iter([torch.zeros(1)])
    )
    taught = calibrated(unmixer, Sources(4), limit=2)
    scores, counts, most = taught["speaker_counting"]
    assert scores == [1, 2, 3, 4, 5]
    assert counts == [1, 2, 3, 1, 2] and most == 3
    first, second = (Sources(4)[n]["sources"].T for n in (0, 3))
    expected = [
        *(first[:1], first[:2], first),
        *(second[:1], second[[0, 2]]),
    ]
    for got, sources in zip(heard, expected, strict=True):
        torch.testing.assert_close(got, sources.sum(dim=0))


def test_examples_are_spread_over_the_set():
    """Sets are sorted: the first mixtures may all be of two speakers."""

    class Watched(Sources):
        asked = []

        def __getitem__(self, index):
            self.asked.append(index)
            return super().__getitem__(index)

    unmixer = Unmixer(make_separator(), 2)
    calibrated(unmixer, Watched(101), limit=5)
    assert Watched.asked == [0, 25, 50, 75, 100]


def test_calibrated_gains_undo_the_scales(monkeypatch):
    unmixer = ideal_unmixer(2)
    data = []
    for index in range(0, 9, 2):
        sources = Sources(9)[index]["sources"][:, ::2]
        data.append({"sources": sources, "mixture": sources.sum(dim=1)})
    queue = [d["sources"].T[:k] for d in data for k in (1, 2)]

    def separate_each(mixtures):
        sources = F.pad(queue.pop(0), (0, 0, 0, 1))[:2]
        outputs = sources / torch.tensor([[-0.5], [20.0]])
        return [Separated(outputs[None], None)]

    monkeypatch.setattr(unmixer.separator, "separate_each", separate_each)
    monkeypatch.setattr(
        unmixer.separator, "parameters", lambda: iter([torch.zeros(1)])
    )
    unmixer.separator.model.embedding_head = None
    taught = calibrated(unmixer, data)
    assert taught["output_gains"] == pytest.approx([-0.5, 20.0], rel=0.03)
    assert taught["speaker_counting"] == []
