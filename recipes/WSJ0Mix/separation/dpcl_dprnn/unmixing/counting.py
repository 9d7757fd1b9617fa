"""How many speakers are there? Told by the embeddings of a mixture, and by how
loud the outputs of the mask head are.
"""

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

LEAST = 8  # examples of a number of speakers to learn from
RELIABLE = 0.85  # of the examples have to be told right
FLOOR = 1e-3  # of shares: what is 30 dB below the rest is nothing


def eigenvalues(embeddings, weights, leading):
    """The largest eigenvalues of V'WV, with the weights W summing to 1.

    They sum to 1 over all. Deep clustering trains the embeddings of a speaker
    to be one and those of two to be orthogonal (Hershey et al., arXiv
    1508.04306, eq. 1): as they should be, each speaker has an eigenvalue, his
    share of the weights, and the others are 0.

    Arguments
    ---------
    embeddings : numpy.ndarray, [L, F, D]
        Of unit norm over D.
    weights : numpy.ndarray, [L, F]
        Non-negative; 0 for inactive bins.
    leading : int
        How many, at most D.

    Returns
    -------
    numpy.ndarray, [leading], falling; all 0 where no bin is active

    Example
    -------
    >>> embeddings = np.eye(3)[[[0, 1, 2, 2]]]
    >>> eigenvalues(embeddings, np.ones((1, 4)), 2)
    array([0.5 , 0.25])
    """
    active = weights > 0
    if not active.any():
        return np.zeros(leading)
    points = embeddings[active].astype(np.float64)  # [active bins, D]
    shares = weights[active] / weights[active].sum(dtype=np.float64)
    gram = (points * shares[:, None]).T @ points
    return np.linalg.eigvalsh(gram)[::-1][:leading]


def counting_features(values, powers=()):
    """What the number of speakers is told by.

    Arguments
    ---------
    values : numpy.ndarray, [number of eigenvalues]
        Of `eigenvalues`.
    powers : sequence of float
        Of the outputs of the mask head, if there is one.

    Returns
    -------
    numpy.ndarray, [number of eigenvalues + outputs]
        Logarithms of the eigenvalues, and of the outputs' shares, loudest
        first.
    """
    powers = np.sort(np.asarray(powers, float))[::-1]
    shares = powers / max(powers.sum(), np.finfo(float).tiny)
    return np.log(np.append(np.clip(values, 0, None), shares) + FLOOR)


def calibrate(features, counts, most):
    """Learn to count from examples, by logistic regression.

    Arguments
    ---------
    features : sequence of numpy.ndarray
        Of `counting_features`.
    counts : sequence of int
        The numbers of speakers that there were.
    most : int
        The most speakers to tell apart.

    Returns
    -------
    list of list of float, [most, 1 + number of features]
        For each number of speakers the offset of its logit and the weights of
        the features. Empty where some number has fewer than 8 examples, or
        less than 85 % (the mean over the numbers) are told right by weights
        that are learnt from other examples: guesses help nobody.
    """
    counts = np.asarray(counts, int)
    numbers = np.arange(1, most + 1)
    kept = np.isin(counts, numbers)
    if most < 2 or min((counts == n).sum() for n in numbers) < LEAST:
        return []
    features, counts = np.array(features)[kept], counts[kept]
    # Small weights: examples may be few, and conditions others in use.
    model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000)
    folds = StratifiedKFold(4, shuffle=True, random_state=0)
    found = cross_val_predict(model, features, counts, cv=folds)
    right = [(found[counts == n] == n).mean() for n in numbers]
    if np.mean(right) < RELIABLE:
        return []
    model.fit(features, counts)
    rows = np.column_stack([model.intercept_, model.coef_])
    if most == 2:  # the logit of two, that of one being 0
        rows = np.vstack([np.zeros_like(rows), rows])
    return rows.tolist()


def count_speakers(features, weights):
    """The most likely number of speakers.

    Arguments
    ---------
    features : numpy.ndarray
        Of `counting_features`.
    weights : list of list of float
        Of `calibrate`.

    Returns
    -------
    count : int
        From 1 to the number of rows.
    confidence : float
        Its probability, from 0 to 1.

    Example
    -------
    >>> features = counting_features([0.5, 0.5, 0.0])
    >>> count, confidence = count_speakers(features, [[0, 0, 0, 0], [7, 0, 2, 0]])
    >>> count, round(confidence, 3)
    (2, 0.996)
    """
    weights = np.asarray(weights, float)
    chances = softmax(weights[:, 0] + weights[:, 1:] @ features)
    best = int(chances.argmax())
    return best + 1, float(chances[best])
