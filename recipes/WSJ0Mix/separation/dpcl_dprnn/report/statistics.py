"""What the report says of scores: means, their uncertainty, groups, counts."""

import math
import typing

import numpy as np

RESAMPLES = 2000
SEED = 0
FEWEST = 10  # of fewer values, the bootstrap's intervals are too narrow
LEVEL = 0.95
BATCH = 100  # resamples in memory at a time
# Upper ends of classes of level differences, in dB
LEVEL_ENDS = (1, 2, 3, 4, 5, 7.5, 10)


class Statistic(typing.NamedTuple):
    """A mean of scores; None where it is not defined."""

    count: int  # values that are defined
    mean: float | None = None
    median: float | None = None
    low: float | None = None  # ends of the mean's confidence interval
    high: float | None = None


def describe(values):
    """Mean, median and the mean's confidence interval.

    The interval is of the percentile bootstrap (Efron, 1979).

    Arguments
    ---------
    values : sequence of float, [utterances]
        NaN ones do not count.

    Returns
    -------
    Statistic
        Without an interval for fewer than `FEWEST` values.

    Example
    -------
    >>> describe([1.0, 4.0, math.nan])[:3]
    (2, 2.5, 2.5)
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return Statistic(0)
    ends = (None, None)
    if len(values) >= FEWEST:
        ends = _interval(values)
    return Statistic(
        len(values), float(values.mean()), float(np.median(values)), *ends
    )


def _interval(values):
    """Ends of the percentile bootstrap's interval of a mean."""
    # Slow to import, and not always needed.
    from scipy.stats import bootstrap

    ends = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=BATCH,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(ends.low), float(ends.high)


def column(rows, name, ids=None):
    """The values of one column.

    Arguments
    ---------
    rows : dict
        `{utterance: {column: value}}`.
    name : str
    ids : sequence of str, optional
        Which utterances, all by default; NaN for those that are not there.

    Returns
    -------
    numpy.ndarray, [utterances]
    """
    ids = rows if ids is None else ids
    return np.array([rows.get(i, {}).get(name, math.nan) for i in ids])


def group(test_set, label):
    """The utterances of each group, as `{label: [utterance, ...]}`, sorted.

    Arguments
    ---------
    test_set : dict
        `{utterance: facts}`.
    label : callable
        Gives the group that some facts belong to, None for no group.
    """
    groups = {}
    for snt_id, facts in test_set.items():
        groups.setdefault(label(facts), []).append(snt_id)
    groups.pop(None, None)
    return dict(sorted(groups.items()))


def speaker_group(facts):
    """The number of speakers, if it is known."""
    return whole(facts["num_spks"])


def gender_group(facts):
    """The genders, such as F-M, if they are known."""
    return facts.get("genders") or None


def level_group(facts):
    """The class of level differences as its ends, (low, high), in dB.

    Example
    -------
    >>> level_group({"level_difference": 1.0}), level_group(
    ...     {"level_difference": 12.0})
    ((1, 2), (10, inf))
    """
    difference = facts["level_difference"]
    if not math.isfinite(difference):
        return None
    ends = (0, *LEVEL_ENDS, math.inf)
    index = np.searchsorted(ends[1:-1], difference, side="right")
    return ends[index], ends[index + 1]


def failures(heads):
    """Utterances that a head made worse, the worst of any head first.

    Arguments
    ---------
    heads : dict
        `{head: {utterance: scores}}`.

    Returns
    -------
    list of str

    Example
    -------
    >>> failures({"masks": {"a": {"si-snr_i": 1.0}, "b": {"si-snr_i": -1.0}},
    ...           "kmeans": {"a": {"si-snr_i": -2.0}}})
    ['a', 'b']
    """
    worst = {}
    for rows in heads.values():
        for snt_id, scores in rows.items():
            gain = scores["si-snr_i"]
            if gain < 0:
                worst[snt_id] = min(gain, worst.get(snt_id, 0.0))
    return sorted(worst, key=lambda snt_id: (worst[snt_id], snt_id))


def whole(value):
    """A number of speakers as an int, None where it is unknown."""
    return None if value is None or not math.isfinite(value) else int(value)


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


def proportion(right):
    """Describe a proportion, with Wilson's interval (1927).

    Arguments
    ---------
    right : sequence of bool, [utterances]
        Not empty.

    Returns
    -------
    Statistic

    Example
    -------
    >>> proportion([True] * 10).low.__round__(3)
    0.722
    """
    right = np.asarray(right, dtype=bool)
    from scipy.stats import binomtest  # slow, as above

    test = binomtest(int(right.sum()), len(right))
    ends = test.proportion_ci(LEVEL, method="wilson")
    middle = float(right.mean()), float(np.median(right))
    return Statistic(len(right), *middle, float(ends.low), float(ends.high))
