"""What the report says of scores: means, their uncertainty, groups, counts."""

import itertools
import math
import typing

import numpy as np

RESAMPLES = 2000
SEED = 0
FEWEST = 10  # of fewer values, the bootstrap's intervals are too narrow
LEVEL = 0.95
BATCH = 100  # resamples in memory at a time


class Statistic(typing.NamedTuple):
    """A mean of scores; None where it is not defined."""

    count: int  # values that are defined
    mean: float | None = None
    median: float | None = None
    low: float | None = None  # ends of the mean's confidence interval
    high: float | None = None


def describe(values):
    """The `Statistic` of values [utterances], of which NaN ones do not count.

    The interval is of the percentile bootstrap (Efron, 1979); fewer than
    `FEWEST` values have none.

    Example
    -------
    >>> describe([1.0, 4.0, math.nan])[:3]
    (2, 2.5, 2.5)
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return Statistic(0)
    found = Statistic(
        len(values), float(values.mean()), float(np.median(values))
    )
    if len(values) < FEWEST:
        return found
    from scipy.stats import bootstrap  # slow to import, not always needed

    low, high = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=BATCH,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return found._replace(low=float(low), high=float(high))


def proportion(right):
    """Describe a proportion of bool [utterances], not empty, as a `Statistic`
    with Wilson's interval (1927).

    Example
    -------
    >>> proportion([True] * 10).low.__round__(3)
    0.722
    """
    from scipy.stats import binomtest  # slow, as above

    right = np.asarray(right, dtype=bool)
    test = binomtest(int(right.sum()), len(right))
    ends = map(float, test.proportion_ci(LEVEL, method="wilson"))
    return Statistic(
        len(right), float(right.mean()), float(np.median(right)), *ends
    )


def column(rows, name, ids=None):
    """The values [utterances] of one column of `{utterance: {column: value}}`,
    of all utterances or of some; NaN where there is none.
    """
    ids = rows if ids is None else ids
    return np.array([rows.get(i, {}).get(name, math.nan) for i in ids])


def by_label(labels, gains):
    """Describe the values `{head: values [N]}` of each label [N], "" for none.

    Gives (label, [`Statistic` of each head]), sorted, without labels that have
    no defined value.

    Example
    -------
    >>> ((label, (found,)),) = by_label(["F", "", "F"], {"masks": np.arange(3.0)})
    >>> label, found.mean
    ('F', 1.0)
    """
    labels = np.array(labels)
    known = (str(label) for label in np.unique(labels) if label)
    return _described(((label, labels == label) for label in known), gains)


def by_class(values, ends, gains):
    """The same for classes of numbers [N], with their ends as labels.

    An end belongs to the class above it; NaN belongs to none.
    """
    classes = itertools.pairwise(ends)
    return _described(
        ((each, (each[0] <= values) & (values < each[1])) for each in classes),
        gains,
    )


def _described(choices, gains):
    rows = [
        (label, [describe(values[chosen]) for values in gains.values()])
        for label, chosen in choices
    ]
    return [row for row in rows if any(s.count for s in row[1])]


def failures(heads):
    """Utterances of `{head: {utterance: scores}}` that a head made worse, the
    worst of any head first.

    Example
    -------
    >>> failures({"masks": {"a": {"si-snr_i": 1.0}, "b": {"si-snr_i": -1.0}},
    ...           "kmeans": {"a": {"si-snr_i": -2.0}}})
    ['a', 'b']
    """
    worst = {}
    for rows in heads.values():
        for snt_id, scores in rows.items():
            # In this order: a NaN is passed over.
            worst[snt_id] = min(worst.get(snt_id, 0.0), scores["si-snr_i"])
    bad = (snt_id for snt_id, gain in worst.items() if gain < 0)
    return sorted(bad, key=lambda snt_id: (worst[snt_id], snt_id))


def confusion(test_set):
    """How many speakers there are against how many were found, from `{utterance:
    {"num_spks", "counted", "confidence"}}`.

    `true` and `counted` numbers, `matrix` [true][counted] of utterances,
    `right` (see `proportion`), `confidence` (means of right and of wrong ones);
    None where nothing was counted.
    """
    names = ("num_spks", "counted", "confidence")
    facts = np.array([column(test_set, name) for name in names])
    true, counted, sure = facts[:, np.isfinite(facts[:2]).all(axis=0)]
    if not len(true):
        return None
    rows, columns = np.unique(true), np.union1d(true, counted)
    right = true == counted
    return {
        "true": rows.astype(int).tolist(),
        "counted": columns.astype(int).tolist(),
        "matrix": [
            [int(((true == t) & (counted == c)).sum()) for c in columns]
            for t in rows
        ],
        "right": proportion(right),
        "confidence": (describe(sure[right]).mean, describe(sure[~right]).mean),
    }
