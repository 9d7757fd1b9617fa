"""Numbers of speakers, where the answer is known."""

import numpy as np
import pytest

from dpcl_dprnn.unmixing.counting import (
    LEAST,
    calibrate,
    count_speakers,
    effective_speakers,
)


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


@pytest.mark.parametrize("count", [1, 2, 3])
def test_bins_that_fit_nobody_do_not_count_among_the_leading(count):
    """A third of the bins points anywhere, in 20 dimensions."""
    embeddings, weights = planted(count)
    rng = np.random.default_rng(3)
    stray = rng.standard_normal(embeddings.shape)
    stray /= np.linalg.norm(stray, axis=-1, keepdims=True)
    embeddings[rng.random(weights.shape) < 1 / 3] = 0
    fits = embeddings.any(axis=-1, keepdims=True)
    embeddings = np.where(fits, embeddings, stray)
    every = effective_speakers(embeddings, weights)
    leading = effective_speakers(embeddings, weights, leading=5)
    assert count < leading < every
    assert leading - count < 0.5 * (every - count)


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
