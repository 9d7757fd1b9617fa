"""What the report says of the counting of speakers."""

import math

import numpy as np

from .statistics import LEVEL, Statistic, describe, whole


def confusion(test_set):
    """How many speakers there are against how many were found.

    Arguments
    ---------
    test_set : dict
        `{utterance: {"num_spks", "counted", "confidence"}}`.

    Returns
    -------
    dict or None
        `true` and `counted` numbers, `matrix` [true][counted] of utterances,
        `right` (`Statistic` of 0 and 1, see `proportion`), `confidence` (means of right and of
        wrong ones); None where nothing was counted.
    """
    pairs = [
        (whole(facts["num_spks"]), whole(facts.get("counted")), facts)
        for facts in test_set.values()
    ]
    pairs = [pair for pair in pairs if None not in pair[:2]]
    if not pairs:
        return None
    seen = [pair[:2] for pair in pairs]
    true = sorted({t for t, _ in seen})
    counted = sorted({number for pair in seen for number in pair})
    right = np.array([t == c for t, c in seen])
    sure = np.array([f.get("confidence", math.nan) for *_, f in pairs])
    return {
        "true": true,
        "counted": counted,
        "matrix": [[seen.count((t, c)) for c in counted] for t in true],
        "right": proportion(right),
        "confidence": (describe(sure[right]).mean, describe(sure[~right]).mean),
    }


def proportion(right, level=LEVEL):
    """Describe a proportion, with Wilson's interval (1927).

    Arguments
    ---------
    right : sequence of bool, [utterances]
        Not empty.
    level : float
        Of confidence.

    Returns
    -------
    Statistic

    Example
    -------
    >>> proportion([True] * 10).low.__round__(3)
    0.722
    """
    right = np.asarray(right, dtype=bool)
    # Slow to import, and not always needed.
    from scipy.stats import binomtest

    ends = binomtest(int(right.sum()), len(right)).proportion_ci(
        level, method="wilson"
    )
    return Statistic(
        len(right),
        float(right.mean()),
        float(np.median(right)),
        float(ends.low),
        float(ends.high),
    )
