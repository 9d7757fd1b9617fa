"""k-means finds clusters that were planted, and masks follow from them."""

import itertools

import numpy as np
import pytest

from dpcl_dprnn.model import clustering
from dpcl_dprnn.model.clustering import kmeans_masks


def planted(num_spks, noise=0.05, frames=20, bins=9, size=6, seed=0):
    """Embeddings near orthogonal centres, weights and hard masks."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_spks, size=(frames, bins))
    embeddings = np.eye(size)[labels]
    embeddings = embeddings + noise * rng.standard_normal(embeddings.shape)
    embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
    weights = rng.uniform(0.1, 2, (frames, bins))
    masks = labels == np.arange(num_spks)[:, None, None]
    return embeddings, weights, masks.astype(np.float32)


def same_up_to_order(masks, expected, tolerance=0.0):
    return any(
        np.abs(masks[list(order)] - expected).max() <= tolerance
        for order in itertools.permutations(range(len(masks)))
    )


@pytest.mark.parametrize("num_spks", [1, 2, 3, 4])
def test_planted_clusters_are_found(num_spks):
    embeddings, weights, expected = planted(num_spks)
    masks = kmeans_masks(embeddings, weights, num_spks)
    assert masks.dtype == np.float32
    assert same_up_to_order(masks, expected)


def test_starts_on_some_points_find_what_those_on_all_do(monkeypatch):
    embeddings, weights, _ = planted(3, noise=0.3, frames=3000)
    assert weights.size > clustering.MANY
    few = kmeans_masks(embeddings, weights, 3, softness=3.0)
    monkeypatch.setattr(clustering, "MANY", weights.size)
    every = kmeans_masks(embeddings, weights, 3, softness=3.0)
    assert same_up_to_order(few, every, tolerance=0.01)


@pytest.mark.parametrize("inactive", ["none", "all"])
@pytest.mark.parametrize("softness", [None, 5.0])
def test_inactive_bins_go_to_nobody_or_everybody(inactive, softness):
    embeddings, weights, expected = planted(2)
    hidden = np.random.default_rng(1).random(weights.shape) < 0.4
    weights[hidden] = 0
    embeddings[hidden] = np.eye(6)[5]  # a cluster that must not be seen
    masks = kmeans_masks(
        embeddings, weights, 2, softness=softness, inactive=inactive
    )
    assert (masks[:, hidden] == (inactive == "all")).all()
    active = masks[:, ~hidden].round()
    assert same_up_to_order(active, expected[:, ~hidden])


def test_weights_decide_which_clusters_there_are():
    """Two heavy groups are told apart, not one light bin from the rest."""
    embeddings = np.array([[1, 0, 0]] * 10 + [[0.8, 0.6, 0]] * 10)
    embeddings = np.vstack([embeddings, [[0, 0, -1]]])[None]
    weights = np.ones((1, 21))
    weights[0, -1] = 1e-6
    masks = kmeans_masks(embeddings, weights, 2)[:, 0, :20]
    expected = np.repeat([[1, 0], [0, 1]], 10, axis=1)
    assert same_up_to_order(masks, expected)


def test_soft_masks_are_a_softmax_of_squared_distances():
    """Isik et al., eq. 7, with the centroids computed from the labels."""
    embeddings, weights, hard = planted(3, noise=0.2)
    centres = np.einsum("klf,lf,lfd->kd", hard, weights, embeddings)
    centres /= np.einsum("klf,lf->k", hard, weights)[:, None]
    distances = embeddings[None] - centres[:, None, None]
    logits = -3.0 * np.square(distances).sum(axis=-1)
    expected = np.exp(logits) / np.exp(logits).sum(axis=0)
    masks = kmeans_masks(embeddings, weights, 3, softness=3.0)
    assert same_up_to_order(masks, expected, tolerance=1e-4)


def test_soft_masks_sum_to_one_and_harden():
    embeddings, weights, _ = planted(3, noise=0.3)
    weights[:4] = 0
    hard = kmeans_masks(embeddings, weights, 3)
    errors = []
    for softness in (0.0, 1.0, 10.0, 1e6):
        masks = kmeans_masks(embeddings, weights, 3, softness=softness)
        assert masks[:, 4:].sum(axis=0) == pytest.approx(1, abs=1e-5)
        assert not masks[:, :4].any()
        errors.append(np.abs(masks - hard).mean())
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == pytest.approx(16 / 20 * 4 / 9, abs=1e-5)  # 1/3 each
    assert errors[-1] < 1e-3


@pytest.mark.parametrize("softness", [None, 5.0])
@pytest.mark.parametrize("active", [1, 2])
def test_fewer_points_than_speakers(softness, active):
    embeddings = np.eye(4)[[[0, 1, 2, 3]]]
    weights = np.zeros((1, 4))
    weights[0, :active] = 1
    masks = kmeans_masks(embeddings, weights, 3, softness=softness)
    assert masks.shape == (3, 1, 4)
    assert masks[:, 0, :active].sum(axis=0) == pytest.approx(1)
    assert not masks[:, 0, active:].any()
    assert (masks.sum(axis=(1, 2)) > 0).sum() == active


def test_equal_points_are_one_speaker():
    embeddings = np.tile(np.eye(3)[0], (5, 6, 1))
    masks = kmeans_masks(embeddings, np.ones((5, 6)), 2)
    assert same_up_to_order(masks, np.stack([np.ones((5, 6)), 0 * masks[0]]))


def test_rare_second_speaker_late_in_the_utterance_is_found():
    """Hundreds of equal bins come first."""
    embeddings = np.tile(np.eye(3)[0], (100, 9, 1))
    embeddings[-1, -3:] = np.eye(3)[1]
    masks = kmeans_masks(embeddings, np.ones((100, 9)), 2)
    assert sorted(masks.sum(axis=(1, 2))) == [3, 897]


@pytest.mark.parametrize("inactive", ["none", "all"])
def test_silence(inactive):
    embeddings, weights, _ = planted(2)
    masks = kmeans_masks(embeddings, 0 * weights, 2, inactive=inactive)
    assert (masks == (inactive == "all")).all()


def test_seed_decides():
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((10, 9, 4))
    weights = rng.random((10, 9))
    runs = [
        kmeans_masks(embeddings, weights, 4, seed=seed, restarts=1)
        for seed in (3, 3, *range(4, 10))
    ]
    assert np.array_equal(runs[0], runs[1])
    assert any(not np.array_equal(runs[0], other) for other in runs[2:])


def test_arguments_are_not_changed():
    embeddings, weights, _ = planted(2)
    weights[0] = 0
    before = embeddings.copy(), weights.copy()
    kmeans_masks(embeddings, weights, 2, softness=1.0, inactive="all")
    assert np.array_equal(embeddings, before[0])
    assert np.array_equal(weights, before[1])


def test_unknown_option_is_refused():
    embeddings, weights, _ = planted(2)
    with pytest.raises(ValueError, match="inactive"):
        kmeans_masks(embeddings, weights, 2, inactive="some")
