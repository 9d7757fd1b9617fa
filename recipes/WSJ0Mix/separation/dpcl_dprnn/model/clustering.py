"""k-means on embeddings, and the masks that follow from it."""

import numpy as np
import threadpoolctl
from sklearn.cluster import KMeans

MANY = 20000  # points; of more, starts of k-means are compared on some
COMPARED = 4000  # of them


def kmeans_masks(
    embeddings,
    weights,
    num_spks,
    seed=0,
    restarts=10,
    softness=None,
    inactive="none",
):
    """Cluster the bins of one utterance and give each speaker a mask.

    k-means is fitted on the active bins, those of positive weight, and
    weighted by them, from the best of several k-means++ starts (Hershey et
    al., arXiv 1508.04306; soft masks of Isik et al., arXiv 1607.02173,
    eq. 7).

    Arguments
    ---------
    embeddings : numpy.ndarray, [L, F, D]
        Of unit norm over D.
    weights : numpy.ndarray, [L, F]
        Non-negative; 0 for inactive bins.
    num_spks : int
        Number of clusters, C.
    seed : int
        Seed of the starts.
    restarts : int
        Number of starts.
    softness : float, optional
        beta of soft masks, softmax over speakers of -beta times the squared
        distance to their centroids. Without it masks are binary.
    inactive : str
        Who gets the inactive bins: "none" of the speakers, or "all" of them.

    Returns
    -------
    numpy.ndarray, [C, L, F], float32, in [0, 1]. Speakers without a bin of
    their own have a mask of zeros. The order of speakers is arbitrary.

    Example
    -------
    >>> embeddings = np.eye(2)[[[0, 1, 1]]]
    >>> masks = kmeans_masks(embeddings, np.array([[1.0, 1.0, 0.0]]), 2)
    >>> masks.sum(axis=0)
    array([[1., 1., 0.]], dtype=float32)
    """
    if inactive not in ("none", "all"):
        raise ValueError(f"inactive must be none or all, not {inactive!r}")
    active = weights > 0
    masks = np.zeros((num_spks, *weights.shape), dtype=np.float32)
    points = embeddings[active].astype(np.float32)  # [active bins, D]
    if len(points):
        centroids = _centroids(
            points, weights[active], num_spks, seed, restarts
        )
        masks[: len(centroids), active] = _assign(points, centroids, softness)
    if inactive == "all":
        masks[:, ~active] = 1.0
    return masks


def _centroids(points, weights, num_spks, seed, restarts):
    """Weighted k-means; fewer centroids where fewer points differ.

    Of many points some compare the starts, and the best is fitted to all.
    """
    some = np.arange(len(points))
    if len(points) > MANY:
        rng = np.random.default_rng(seed)
        some = rng.choice(len(points), COMPARED, replace=False)
    distinct = len(np.unique(points[some[: 100 * num_spks]], axis=0))
    if distinct < num_spks:  # rare: look at all points
        some = np.arange(len(points))
        distinct = len(np.unique(points, axis=0))
    count = min(num_spks, distinct)
    # A second BLAS beside PyTorch's would fight it for the cores.
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        kmeans = KMeans(count, n_init=restarts, random_state=seed)
        kmeans.fit(points[some], sample_weight=weights[some])
        if len(some) < len(points):
            # To the end, which does not depend on which points were compared.
            start = kmeans.cluster_centers_
            kmeans = KMeans(count, init=start, n_init=1, tol=0)
            kmeans.fit(points, sample_weight=weights)
    return kmeans.cluster_centers_


def _assign(points, centroids, softness):
    """Memberships [C, points]: one-hot, or a softmax of the distances."""
    distances = (
        (points**2).sum(axis=1)
        - 2 * centroids @ points.T
        + (centroids**2).sum(axis=1, keepdims=True)
    )
    if softness is None:
        return distances.argmin(axis=0) == np.arange(len(centroids))[:, None]
    logits = -softness * (distances - distances.min(axis=0))
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(axis=0)
