"""Intervals cover what they say; groups hold what they should."""

import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from dpcl_dprnn.report.statistics import (
    FEWEST,
    by_class,
    by_label,
    confusion,
    describe,
    failures,
    proportion,
)
from dpcl_dprnn.report.tables import difference


def test_interval_covers_the_mean_as_often_as_it_says():
    """Of 300 data sets about 95 % (1.3 % standard error, and a small bias)."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(300):
        values = rng.exponential(2.0, size=50)
        low, high = describe(values)[-2:]
        inside += low <= 2.0 <= high
    assert 0.89 <= inside / 300 <= 0.98


def test_interval_of_many_values_is_the_normal_one():
    values = np.random.default_rng(0).normal(5, 3, 4000)
    half = 1.96 * values.std() / math.sqrt(4000)
    ends = values.mean() - half, values.mean() + half
    assert describe(values)[-2:] == pytest.approx(ends, abs=0.08 * half)


def test_interval_is_the_same_every_time():
    values = np.random.default_rng(0).normal(size=30)
    assert describe(values) == describe(values)


@pytest.mark.parametrize("values", [[], [math.nan, math.inf]])
def test_nothing_to_describe(values):
    assert describe(values) == (0, None, None, None, None)


@pytest.mark.parametrize("count", [1, 2, FEWEST - 1])
def test_few_values_have_no_interval(count):
    values = [math.nan, *[3.0] * count]
    assert describe(values) == (count, 3.0, 3.0, None, None)
    assert describe([3.0] * FEWEST).low == 3.0


@pytest.mark.parametrize("right, count", [(0, 5), (96, 100), (7, 7)])
def test_wilson_interval_agrees_with_its_closed_form(right, count):
    found = proportion([True] * right + [False] * (count - right))
    z, p = scipy.stats.norm.ppf(0.975), right / count
    centre = p + z**2 / (2 * count)
    half = z * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    ends = [(centre + s * half) / (1 + z**2 / count) for s in (-1, 1)]
    assert (found.count, found.mean) == (count, p)
    assert found[-2:] == pytest.approx(ends, abs=1e-9)


def test_paired_difference_cancels_what_utterances_share():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 10, 40)
    first = {f"u{n}": {"si-snr_i": shared[n] + 1.0} for n in range(40)}
    second = {f"u{n}": {"si-snr_i": shared[n]} for n in reversed(range(40))}
    second["other"] = {"si-snr_i": 1000.0}
    found = difference({"masks": first, "kmeans": second})
    assert found.count == 40
    assert found[1:] == pytest.approx((1.0, 1.0, 1.0, 1.0))


def test_groups_divide_the_test_set():
    rng = np.random.default_rng(0)
    levels = np.array([*rng.uniform(0, 15, 200), 0.0, 15.0, math.nan])
    labels = [str(each) for each in rng.choice(["F-M", "M-M", ""], 203)]
    gains = {"masks": rng.normal(size=203)}
    by_levels = by_class(levels, (0, 1, 7.5, math.inf), gains)
    assert [label for label, _ in by_levels] == [
        (0, 1),
        (1, 7.5),
        (7.5, math.inf),
    ]
    for (low, high), (found,) in by_levels:
        inside = [low <= level < high for level in levels]
        expected = gains["masks"][inside].mean()
        assert (found.count, found.mean) == (sum(inside), expected)
    assert sum(found.count for _, (found,) in by_levels) == 202
    by_labels = by_label(labels, gains)
    assert [label for label, _ in by_labels] == ["F-M", "M-M"]
    for label, (found,) in by_labels:
        assert found.count == labels.count(label)
    gains["masks"][labels.index("F-M")] = math.nan
    assert by_label(labels, gains)[0][1][0].count == labels.count("F-M") - 1
    assert by_label(labels, {"masks": np.full(203, math.nan)}) == []


def test_confusion_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    true, found = rng.integers(1, 4, 100), rng.integers(1, 5, 100)
    test_set = {
        f"u{n}": {
            "num_spks": float(true[n]),
            "counted": float(found[n]),
            "confidence": 0.9 if true[n] == found[n] else 0.4,
        }
        for n in range(100)
    }
    test_set["unknown"] = {"num_spks": 2.0, "counted": math.nan}
    result = confusion(test_set)
    theirs = sklearn.metrics.confusion_matrix(true, found, labels=[1, 2, 3, 4])
    assert (result["true"], result["counted"]) == ([1, 2, 3], [1, 2, 3, 4])
    np.testing.assert_array_equal(result["matrix"], theirs[:3])
    assert result["right"].mean == pytest.approx((true == found).mean())
    assert result["confidence"] == pytest.approx((0.9, 0.4))


def test_nothing_counted():
    assert confusion({"u": {"num_spks": 2.0, "counted": math.nan}}) is None
    assert confusion({"u": {"num_spks": 2.0}}) is None


def test_failures_are_sorted_by_their_worst_head():
    scores = {
        "masks": {"a": -2.0, "b": 4.0, "c": 0.0, "d": math.nan},
        "kmeans": {"a": -1.0, "b": -9.0, "d": -1.5},
    }
    heads = {
        head: {name: {"si-snr_i": value} for name, value in each.items()}
        for head, each in scores.items()
    }
    assert failures(heads) == ["b", "a", "d"]
