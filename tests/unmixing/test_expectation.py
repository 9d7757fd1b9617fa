"""What is expected of voices, by how alike their embeddings are."""

import numpy as np
import pytest

from dpcl_dprnn.unmixing.expectation import Expectation, fit_line


def direction(degrees, length=1.0):
    angle = np.radians(degrees)
    return length * np.array([np.cos(angle), np.sin(angle)])


def test_likeness_is_the_cosine_whatever_the_levels():
    expectation = Expectation()
    expectation.hear(np.stack([direction(10, 0.2), direction(70, 3.0)]))
    assert expectation.likeness == pytest.approx(0.5)
    assert expectation.improvement is None  # without a line


def test_pairs_and_windows_count_as_their_softer_voice():
    expectation = Expectation([-10.0, 9.0])
    expectation.hear(
        np.stack([direction(0, 4.0), direction(60, 1.0), direction(90, 2.0)])
    )
    pairs = [(0.5, 1.0), (0.0, 2.0), (np.cos(np.pi / 6), 1.0)]
    expectation.hear(np.stack([direction(0, 5.0), direction(0, 3.0)]))
    pairs.append((1.0, 3.0))
    cosines, weights = np.transpose(pairs)
    mean = np.average(cosines, weights=weights)
    assert expectation.likeness == pytest.approx(mean)
    assert expectation.improvement == pytest.approx(9 - 10 * mean)


@pytest.mark.parametrize(
    "sums", [np.ones((1, 2)), np.zeros((2, 2)), np.array([[1.0, 1], [0, 0]])]
)
def test_nothing_is_expected_of_one_voice(sums):
    expectation = Expectation([-10.0, 9.0])
    expectation.hear(sums)
    assert expectation.likeness is expectation.improvement is None


def test_line_through_points():
    likenesses = np.linspace(0.1, 0.9, 9)
    noise = np.tile([0.5, -1.0, 0.5], 3)  # of no slope and no mean
    improvements = 8 - 7 * likenesses + noise
    line = fit_line(list(zip(likenesses, improvements, strict=True)))
    assert line == pytest.approx([-7.0, 8.0])


@pytest.mark.parametrize(
    "likenesses, improvements",
    [
        (np.linspace(0, 1, 7), -np.linspace(0, 1, 7)),  # too few
        (np.full(9, 0.5), np.arange(9.0)),
        (np.linspace(0, 1, 9), np.linspace(0, 1, 9)),  # the wrong way
        (np.linspace(0, 1, 9), np.array([2.0, -2] * 4 + [2])),  # no relation
    ],
)
def test_no_line_where_likeness_does_not_tell(likenesses, improvements):
    pairs = zip(likenesses, improvements, strict=True)
    assert fit_line(list(pairs)) == []


def test_opposite_voices_are_as_those_that_are_unlike():
    expectation = Expectation([-10.0, 9.0])
    expectation.hear(np.stack([direction(0), direction(120)]))
    assert expectation.likeness == pytest.approx(-0.5)
    assert expectation.improvement == 9.0
