"""What is fitted after training, where the answer is known."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ideal import ideal_unmixer, tones
from model_folder import make_separator

from dpcl_dprnn.model.separator import Separated
from dpcl_dprnn.unmixing import calibration
from dpcl_dprnn.unmixing.calibration import calibrated, judge
from dpcl_dprnn.unmixing.unmixer import Unmixed, Unmixer


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
    monkeypatch.setattr(Unmixer, "counting_features", lambda *args: len(heard))
    monkeypatch.setattr(
        "dpcl_dprnn.unmixing.calibration.calibrate",
        lambda features, counts, most: [features, counts, most],
    )
    monkeypatch.setattr(
        unmixer.separator, "parameters", lambda: iter([torch.zeros(1)])
    )
    monkeypatch.setattr(
        "dpcl_dprnn.unmixing.calibration.judge",
        lambda unmixer, examples: {"judged": (unmixer, list(examples))},
    )
    taught = calibrated(unmixer, Sources(4), limit=2)
    features, counts, most = taught["speaker_counting"]
    assert features == [1, 2, 3, 4, 5]
    assert counts == [1, 2, 3, 1, 2] and most == 3
    fitted, examples = taught["judged"]
    assert fitted.output_gains == taught["output_gains"]
    assert [len(sources) for _, sources in examples] == [3, 2]
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

    unmixer = Unmixer(make_separator(num_spks=3), 3)
    calibrated(unmixer, Watched(101), limit=5)
    assert Watched.asked == 2 * [0, 25, 50, 75, 100]  # for the heads again


@pytest.mark.parametrize(
    ("most", "counts"), [(2, [10, 10, 1]), (3, [14, 14, 5])]
)
def test_rare_examples_of_most_speakers_are_looked_for(
    most, counts, monkeypatch
):
    """Of 100, a tenth has three speakers: of the ten that are chosen one, so
    that four are heard beside them where three are the most. Gains are fitted
    to the chosen ones alone.
    """

    class Rare(Sources):
        def __getitem__(self, index):
            return super().__getitem__(0 if index % 10 == 5 else 1)

    unmixer, heard, products = ideal_unmixer(most), [], []
    nothing = Separated(torch.zeros(1, most, 400), torch.zeros(1, 1, 1, 1))
    for target, name, value in (
        (unmixer.separator, "separate_each", lambda mixtures: [nothing]),
        (unmixer.separator, "parameters", lambda: iter([torch.zeros(1)])),
        (Unmixer, "counting_features", lambda *args: 1.0),
        (calibration, "judge", lambda *args: {}),
        (calibration, "calibrate", lambda f, counts, m: heard.extend(counts)),
        (calibration, "_products", lambda *args: products.append(1) or (0, 0)),
        (calibration, "fit_gains", lambda *args: np.ones(most)),
    ):
        monkeypatch.setattr(target, name, value)
    calibrated(unmixer, Rare(100), limit=10)
    assert [heard.count(n) for n in range(1, 4)] == counts
    assert len(products) == 21


def test_silent_examples_do_not_count(monkeypatch):
    """Of the first and third mixture all is silent."""

    class Quiet(Sources):
        def __getitem__(self, index):
            item = super().__getitem__(1 - index % 2)
            return {name: x * (index % 2) for name, x in item.items()}

    counted = []
    monkeypatch.setattr(
        calibration, "calibrate", lambda f, counts, m: counted.extend(counts)
    )
    calibrated(Unmixer(make_separator(num_spks=3), 3), Quiet(3))
    assert counted == [1, 2, 3]


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


def mixed_up(monkeypatch, leaks, leak_of):
    """An unmixer whose voices are mixed up by the leak of the mixture, and of
    the head; and whose embeddings tell. Its examples.
    """
    unmixer = ideal_unmixer(2)
    separated = [Separated(None, None)]
    monkeypatch.setattr(
        unmixer.separator, "separate_each", lambda mixtures: separated
    )
    examples = []
    for index in range(len(leaks)):
        sources = Sources(len(leaks))[index]["sources"].T[::2]
        examples.append((sources.sum(dim=0), sources))

    def unmix(self, mixture, separated, n_spks, head):
        index, sources = next(
            (n, s) for n, (m, s) in enumerate(examples) if m is mixture
        )
        assert n_spks == len(sources)
        leak = leaks[index] * leak_of[head]
        sums = torch.tensor([[1.0, 0.0], [leak, (1 - leak**2) ** 0.5]])
        return Unmixed(sources + leak * sources.flip(0), None, sums)

    monkeypatch.setattr(Unmixer, "unmix", unmix)
    return unmixer, examples


@pytest.mark.parametrize("best", ["masks", "kmeans"])
def test_best_head_is_the_one_that_is_nearer_to_the_sources(best, monkeypatch):
    """Here the other's voices are half mixed up."""
    leak_of = {"masks": 0.5, "kmeans": 0.5} | {best: 0.0}
    unmixer, examples = mixed_up(monkeypatch, [1.0] * 4, leak_of)
    fitted = judge(unmixer, examples)
    assert fitted == {"best_head": best, "expected_improvement": {}}
    chosen = dataclasses.replace(unmixer, **fitted)
    assert chosen.heads[0] == best
    assert chosen.check(None, None) == (2, best)
    assert chosen.check(2, "masks") == (2, "masks")


def test_expected_improvement_is_that_of_the_examples(monkeypatch):
    """Of either head; more leaks, less is won, and more alike are voices."""
    leaks = np.linspace(0.3, 0.5, 9)
    leak_of = {"masks": 1.0, "kmeans": 1.5}
    unmixer, examples = mixed_up(monkeypatch, leaks, leak_of)
    lines = judge(unmixer, examples)["expected_improvement"]
    unmixer = dataclasses.replace(unmixer, expected_improvement=lines)
    for head, times in leak_of.items():
        for leak in times * leaks:
            angle = np.arccos(leak)
            sums = np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])
            expectation = unmixer.expectation(head, torch.from_numpy(sums))
            # One source is 6 dB above the other, and is that much less won.
            assert expectation.improvement == pytest.approx(
                -20 * np.log10(leak), abs=0.3
            )


def test_a_head_with_a_silent_voice_is_not_the_best(monkeypatch):
    """Its embeddings tell nothing; that is no reason to leave it out."""
    unmixer, examples = mixed_up(
        monkeypatch, [0.1] * 4, {"masks": 1.0, "kmeans": 1.0}
    )
    both = Unmixer.unmix

    def unmix(self, mixture, separated, n_spks, head):
        voices, confidence, sums = both(self, mixture, separated, n_spks, head)
        if head == "masks" and mixture is not examples[0][0]:
            quiet = torch.tensor([[1.0], [0.0]])
            voices, sums = quiet * mixture, quiet * sums
        return Unmixed(voices, confidence, sums)

    monkeypatch.setattr(Unmixer, "unmix", unmix)
    assert judge(unmixer, examples)["best_head"] == "kmeans"


def test_nothing_is_told_where_nothing_tells():
    nothing = {"best_head": "", "expected_improvement": {}}
    sources = Sources(1)[0]["sources"].T
    unmixer = ideal_unmixer(3)
    assert judge(unmixer, []) == nothing
    assert judge(unmixer, [(sources[0], sources[:1])]) == nothing
    assert unmixer.heads == ("masks", "kmeans")
    unmixer.separator.model.embedding_head = None
    assert judge(unmixer, [(sources.sum(dim=0), sources)]) == nothing
