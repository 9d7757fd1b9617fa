"""Numbers of speakers, and what is fitted, where the answer is known."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ideal import ideal_unmixer, tones
from model_folder import make_separator

from dpcl_dprnn.model.separator import Separated
from dpcl_dprnn.unmixing.counting import (
    LEAST,
    better_head,
    calibrate,
    calibrated,
    count_speakers,
    effective_speakers,
)
from dpcl_dprnn.unmixing.unmixer import Unmixed, Unmixer


def planted(count, bins=300, noise=0.0, seed=0, size=20):
    """Embeddings of speakers in as many directions, and even weights."""
    rng = np.random.default_rng(seed)
    owners = rng.permutation(np.arange(bins) % count)
    points = np.eye(size)[owners] + noise * rng.standard_normal((bins, size))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points.reshape(10, bins // 10, size), np.ones((10, bins // 10))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_effective_speakers_of_equal_orthogonal_speakers(count):
    assert effective_speakers(*planted(count)) == pytest.approx(count)


def test_effective_speakers_is_the_inverse_mean_squared_cosine():
    """The explicit N x N form."""
    embeddings, _ = planted(3, bins=60, noise=0.3)
    weights = np.random.default_rng(1).uniform(0, 1, embeddings.shape[:2])
    v = embeddings.reshape(60, -1)
    w = weights.ravel() / weights.sum()
    expected = 1 / (w @ np.square(v @ v.T) @ w)
    got = effective_speakers(embeddings, weights)
    assert got == pytest.approx(expected)


def test_a_soft_speaker_counts_less():
    embeddings, weights = planted(2)
    first = embeddings[..., 0] > 0.5
    softer = effective_speakers(embeddings, np.where(first, 1.0, 0.1))
    share = 0.1 / 1.1
    assert softer == pytest.approx(1 / (share**2 + (1 - share) ** 2))


def test_inactive_bins_do_not_count():
    embeddings, weights = planted(3)
    weights[embeddings[..., 0] > 0.5] = 0
    assert effective_speakers(embeddings, weights) == pytest.approx(2)


def test_silence_has_no_speakers():
    embeddings, weights = planted(2)
    score = effective_speakers(embeddings, 0 * weights)
    assert count_speakers(score, [[1.5, 9.0]]) == (0, 1.0)


def examples(number=40, spread=0.1, most=3):
    rng = np.random.default_rng(0)
    counts = np.repeat(np.arange(1, most + 1), number)
    return counts * np.exp(spread * rng.standard_normal(len(counts))), counts


def test_calibrated_boundaries_lie_between_the_speakers():
    scores, counts = examples()
    boundaries = calibrate(scores, counts, 3)
    middles, slopes = np.transpose(boundaries)
    # Equal spreads of the logarithms: the boundary is at the geometric mean.
    assert middles == pytest.approx([2**0.5, 6**0.5], rel=0.06)
    assert (slopes > 0).all()
    found = [count_speakers(score, boundaries)[0] for score in scores]
    assert (found == counts).mean() > 0.95


def test_an_uneven_number_of_examples_does_not_move_the_boundary():
    scores, counts = examples(most=2)
    few = np.r_[:40, 40 : 40 + LEAST]
    (even,), (uneven,) = (
        calibrate(scores, counts, 2),
        calibrate(scores[few], counts[few], 2),
    )
    assert uneven[0] == pytest.approx(even[0], rel=0.1)


@pytest.mark.parametrize(
    "scores, counts",
    [
        ([], []),
        ([1.0] * 20, [1] * 20),
        ([1.0] * 20 + [2.0] * (LEAST - 1), [1] * 20 + [2] * (LEAST - 1)),
        ([2.0] * 20 + [1.0] * 20, [1] * 20 + [2] * 20),  # the wrong way round
        ([1.0, 2.0] * 20 + [1.1, 2.1] * 20, [1] * 40 + [2] * 40),
    ],
    ids=["none", "one kind", "too few", "wrong way round", "not told apart"],
)
def test_nothing_is_learnt_from_unfit_examples(scores, counts):
    assert calibrate(scores, counts, 2) == []


def test_boundaries_that_cross_are_refused():
    scores = [1.0] * 9 + [4.0] * 9 + [3.0] * 9 + [3.9] * 9
    counts = [1] * 9 + [2] * 18 + [3] * 9
    middles = [pair[0] for pair in calibrate(scores, counts, 3)]
    assert middles == sorted(middles)


@pytest.mark.parametrize("score", [1e-9, 0.5, 1.0, 2.0, 3.3, 20.0, 1e9])
def test_confidence_is_a_probability(score):
    boundaries = [[1.5, 40.0], [2.5, 2.0], [3.5, 900.0]]
    count, confidence = count_speakers(score, boundaries)
    assert 1 <= count <= 4
    assert 1 / 4 <= confidence <= 1


def test_confidence_at_a_boundary_is_a_half():
    count, confidence = count_speakers(1.5, [[1.5, 20.0], [9.0, 20.0]])
    assert count in (1, 2)
    assert confidence == pytest.approx(0.5)


# Fitted after training


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
        "dpcl_dprnn.unmixing.counting.calibrate",
        lambda scores, counts, most: [scores, counts, most],
    )
    monkeypatch.setattr(
        unmixer.separator, "parameters", lambda: iter([torch.zeros(1)])
    )
    monkeypatch.setattr(
        "dpcl_dprnn.unmixing.counting.better_head",
        lambda unmixer, examples: (unmixer, list(examples)),
    )
    taught = calibrated(unmixer, Sources(4), limit=2)
    scores, counts, most = taught["speaker_counting"]
    assert scores == [1, 2, 3, 4, 5]
    assert counts == [1, 2, 3, 1, 2] and most == 3
    fitted, examples = taught["best_head"]
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


@pytest.mark.parametrize("best", ["masks", "kmeans"])
def test_better_head_is_the_one_that_is_nearer_to_the_sources(
    best, monkeypatch
):
    """Here the other's voices are half mixed up."""
    unmixer = ideal_unmixer(2)
    separated = [Separated(None, None)]
    monkeypatch.setattr(
        unmixer.separator, "separate_each", lambda mixtures: separated
    )
    examples = []
    for index in range(4):
        sources = Sources(4)[index]["sources"].T[::2]
        examples.append((sources.sum(dim=0), sources))

    def unmix(self, mixture, separated, n_spks, head):
        sources = next(s for m, s in examples if m is mixture)
        assert n_spks == len(sources)
        leak = 0.0 if head == best else 0.5
        return Unmixed(sources + leak * sources.flip(0), None)

    monkeypatch.setattr(Unmixer, "unmix", unmix)
    assert better_head(unmixer, examples) == best
    chosen = dataclasses.replace(unmixer, best_head=best)
    assert chosen.heads[0] == best
    assert chosen.check(None, None) == (2, best)
    assert chosen.check(2, "masks") == (2, "masks")


def test_no_head_is_better_where_nothing_tells():
    sources = Sources(1)[0]["sources"].T
    unmixer = ideal_unmixer(3)
    assert better_head(unmixer, []) == ""
    assert better_head(unmixer, [(sources[0], sources[:1])]) == ""
    assert unmixer.heads == ("masks", "kmeans")
    unmixer.separator.model.embedding_head = None
    assert better_head(unmixer, [(sources.sum(dim=0), sources)]) == ""
