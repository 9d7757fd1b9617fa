"""How many speakers are there? Counted from the embeddings of a mixture."""

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

LEAST = 8  # examples on either side that a boundary is fitted to
RELIABLE = 0.85  # of the examples have to be told right


def effective_speakers(embeddings, weights, leading=None):
    """How many speakers the embeddings speak of, as a real number.

    1 / ||V'WV||^2, with the weights W summing to 1: the inverse of the mean
    squared cosine between the embeddings of any two bins. Deep clustering
    trains these cosines to be 1 within a speaker and 0 between speakers
    (Hershey et al., arXiv 1508.04306, eq. 1), so that it is C for C equally
    loud speakers and embeddings as they should be.

    ||V'WV||^2 is the sum of the squares of the eigenvalues of V'WV, which add up
    to 1. A speaker has a large one each; of bins that nobody's embedding fits
    there are many small ones, which make it more speakers than there are. They
    are left out where only the `leading` ones count, as shares of their sum.

    Arguments
    ---------
    embeddings : numpy.ndarray, [L, F, D]
        Of unit norm over D.
    weights : numpy.ndarray, [L, F]
        Non-negative; 0 for inactive bins.
    leading : int, optional
        How many eigenvalues count; all by default.

    Returns
    -------
    float, from 1 to D or `leading`; 0 where no bin is active

    Example
    -------
    >>> embeddings = np.eye(3)[[[0, 1, 2, 2]]]
    >>> round(effective_speakers(embeddings, np.ones((1, 4))), 3)
    2.667
    """
    active = weights > 0
    if not active.any():
        return 0.0
    points = embeddings[active].astype(np.float64)  # [active bins, D]
    shares = weights[active] / weights[active].sum(dtype=np.float64)
    gram = (points * shares[:, None]).T @ points
    if leading is None:
        return float(1 / np.square(gram).sum())
    values = np.linalg.eigvalsh(gram)[-leading:]
    return float(values.sum() ** 2 / np.square(values).sum())


def calibrate(scores, counts, most):
    """Learn from examples where one number of speakers ends.

    For each number n below `most`, logistic regression of "more than n" on
    the logarithm of the score.

    Arguments
    ---------
    scores : sequence of float
        Of `effective_speakers`.
    counts : sequence of int
        The numbers of speakers that there were.
    most : int
        The most speakers to tell apart.

    Returns
    -------
    list of [float, float]
        For each n the score of the boundary between n and n + 1, and the
        slope of the log-odds over the logarithm of the score. Empty where
        some number has fewer than 8 examples, or less than 85 % of them (the
        mean over the numbers) are then told right: guesses help nobody.
    """
    scores, counts = np.log(np.maximum(scores, 1e-3)), np.asarray(counts)
    boundaries = []
    for n in range(1, most):
        # The neighbours decide, each as likely; the slope is kept finite.
        near = (counts == n) | (counts == n + 1)
        more = counts[near] > n
        if min(more.sum(), (~more).sum()) < LEAST:
            return []
        model = LogisticRegression(C=100.0, class_weight="balanced")
        model.fit(scores[near, None], more)
        slope = float(model.coef_[0, 0])
        if slope <= 0:  # the embeddings do not tell
            return []
        middle = -float(model.intercept_[0]) / slope
        boundaries.append([float(np.exp(middle)), slope])
    found = np.array([count_speakers(s, boundaries)[0] for s in np.exp(scores)])
    right = [
        (found[counts == n] == n).mean() for n in range(1, len(boundaries) + 2)
    ]
    return boundaries if np.mean(right) >= RELIABLE else []


def count_speakers(score, boundaries):
    """The most likely number of speakers.

    Arguments
    ---------
    score : float
        Of `effective_speakers`.
    boundaries : list of [float, float]
        Of `calibrate`.

    Returns
    -------
    count : int
        From 1 to the number of boundaries + 1; 0 for silence.
    confidence : float
        Its probability, from 0 to 1.

    Example
    -------
    >>> count, confidence = count_speakers(2.0, [[1.5, 9.0], [2.5, 9.0]])
    >>> count, round(confidence, 2)
    (2, 0.81)
    """
    if not score:
        return 0, 1.0
    more = [  # the chance of more than n, which cannot rise with n
        expit(slope * np.log(score / middle)) for middle, slope in boundaries
    ]
    chances = -np.diff(np.minimum.accumulate([1.0, *more, 0.0]))
    best = int(chances.argmax())
    return best + 1, float(chances[best])
