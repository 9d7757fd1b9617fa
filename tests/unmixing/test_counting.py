"""Numbers of speakers, where the answer is known."""

import numpy as np
import pytest
from scipy.special import softmax

from dpcl_dprnn.unmixing.counting import (
    LEAST,
    calibrate,
    count_speakers,
    counting_features,
    eigenvalues,
)


def planted(count, bins=300, noise=0.0, seed=0, size=20):
    """Embeddings of speakers in as many directions, and even weights."""
    rng = np.random.default_rng(seed)
    owners = rng.permutation(np.arange(bins) % count)
    points = np.eye(size)[owners] + noise * rng.standard_normal((bins, size))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    return points.reshape(10, bins // 10, size), np.ones((10, bins // 10))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_eigenvalues_are_the_shares_of_the_speakers(count):
    expected = [1 / count] * count + [0] * (6 - count)
    got = eigenvalues(*planted(count), leading=6)
    assert got == pytest.approx(expected, abs=1e-12)


def test_eigenvalues_are_those_of_the_weighted_affinities():
    """The explicit N x N form, which has the same ones."""
    embeddings, _ = planted(3, bins=60, noise=0.3)
    weights = np.random.default_rng(1).uniform(0, 1, embeddings.shape[:2])
    v = embeddings.reshape(60, -1)
    root = np.sqrt(weights.ravel() / weights.sum())
    affinities = root[:, None] * (v @ v.T) * root
    expected = np.linalg.eigvalsh(affinities)[::-1][:4]
    got = eigenvalues(embeddings, weights, leading=4)
    assert got == pytest.approx(expected)


def test_a_soft_speaker_has_a_small_eigenvalue():
    embeddings, weights = planted(2)
    first = embeddings[..., 0] > 0.5
    softer = eigenvalues(embeddings, np.where(first, 1.0, 0.1), leading=2)
    assert softer == pytest.approx([1 / 1.1, 0.1 / 1.1])


def test_inactive_bins_do_not_count():
    embeddings, weights = planted(3)
    weights[embeddings[..., 0] > 0.5] = 0
    got = eigenvalues(embeddings, weights, leading=3)
    assert got == pytest.approx([0.5, 0.5, 0], abs=1e-12)


def test_silence_has_no_eigenvalues():
    embeddings, weights = planted(2)
    assert not eigenvalues(embeddings, 0 * weights, leading=3).any()


def test_features_are_logarithms_of_shares():
    """Of outputs whatever their scale, the loudest first; a share of nothing
    is finite.
    """
    got = counting_features(np.array([0.5, 0.0]), [30.0, 0.0, 10.0])
    expected = np.log(np.array([0.5, 0, 0.75, 0.25, 0]) + 1e-3)
    assert got == pytest.approx(expected)
    silent = counting_features(np.array([1.0]), [0.0, 0.0])
    assert np.isfinite(silent).all()


def examples(number=40, spread=0.3, most=3, seed=0):
    """Features of equal speakers, scattered."""
    rng = np.random.default_rng(seed)
    counts = np.repeat(np.arange(1, most + 1), number)
    rows = [
        counting_features(np.r_[np.ones(n) / n, np.zeros(most + 1 - n)])
        for n in counts
    ]
    return np.array(rows) + spread * rng.standard_normal(
        (len(rows), most + 1)
    ), counts


@pytest.mark.parametrize("most", [2, 3, 4])
def test_what_was_learnt_counts_others(most):
    weights = calibrate(*examples(most=most), most)
    assert np.shape(weights) == (most, most + 2)
    features, counts = examples(most=most, seed=1)
    found = [count_speakers(each, weights)[0] for each in features]
    assert (found == counts).mean() > 0.95


def test_an_uneven_number_of_examples_does_not_favour_a_number():
    """One feature: where as many of each are told, its boundary is."""
    features = np.r_[np.zeros(40), np.ones(40)]
    features += np.random.default_rng(0).normal(0, 0.3, 80)
    counts = np.repeat([1, 2], 40)
    few = np.r_[:40, 40 : 40 + LEAST]
    boundaries = []
    for kept in (slice(None), few):
        _, (offset, slope) = calibrate(features[kept, None], counts[kept], 2)
        boundaries.append(-offset / slope)
    assert boundaries == pytest.approx([0.5, 0.5], abs=0.15)


def noise_of(number, features=3):
    return np.random.default_rng(0).standard_normal((number, features))


@pytest.mark.parametrize(
    "features, counts, most",
    [
        ([], [], 2),
        (np.ones((20, 1)), [1] * 20, 2),
        (np.ones((20, 1)), [1] * 20, 1),
        (
            np.r_[np.ones((20, 1)), np.zeros((LEAST - 1, 1))],
            [1] * 20 + [2] * (LEAST - 1),
            2,
        ),
        # So many features tell the examples apart, and no others.
        (noise_of(32, features=40), [1, 2] * 16, 2),
    ],
    ids=["none", "one kind", "one at most", "too few", "not told apart"],
)
def test_nothing_is_learnt_from_unfit_examples(features, counts, most):
    assert calibrate(features, counts, most) == []


def test_examples_of_more_speakers_than_can_be_told_are_left_out():
    features, counts = examples(most=3)
    two = counts < 3
    assert calibrate(features, counts, 2) == calibrate(
        features[two], counts[two], 2
    )


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e3])
def test_confidence_is_the_probability_of_the_number(scale):
    weights = scale * noise_of(4, features=6)
    features = noise_of(1, features=5)[0]
    chances = softmax(weights @ np.r_[1, features])
    count, confidence = count_speakers(features, weights.tolist())
    assert chances[count - 1] == chances.max()
    assert confidence == pytest.approx(chances.max())
