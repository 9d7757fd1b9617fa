"""Who speaks when: stretches of voices, with what others leave in them."""

import numpy as np
import pytest

from dpcl_dprnn.unmixing.turns import Activity, Turn, rttm

RATE = 8000
SEEN = 0.08  # seconds by which a turn's ends may be off


def voice(stretches, seconds=10.0, seed=0, level=0.1):
    """Noise with the loudness of syllables, where someone speaks."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    sound = level * rng.standard_normal(len(time))
    sound *= 0.6 + 0.4 * np.sin(2 * np.pi * 4 * time)
    speaks = np.zeros(len(time), bool)
    for start, end in stretches:
        speaks |= (time >= start) & (time < end)
    return np.float32(sound * speaks)


def turns_of(voices, cuts=(), rate=RATE):
    activity = Activity(rate)
    blocks = np.split(np.asarray(voices), cuts, axis=1)
    passed = list(activity.watched(blocks))
    assert np.array_equal(np.concatenate(passed, axis=1), voices)
    return activity.turns()


def agree(turns, wanted):
    assert [turn.voice for turn in turns] == [each[0] for each in wanted]
    for turn, (_, start, end) in zip(turns, wanted, strict=True):
        assert turn.start == pytest.approx(start, abs=SEEN)
        assert turn.end == pytest.approx(end, abs=SEEN)


WANTED = [(0, 0.5, 3.0), (1, 2.0, 5.0), (0, 6.0, 7.0), (1, 6.0, 8.0)]


@pytest.mark.parametrize("leak", [0.0, 0.2])
@pytest.mark.parametrize("noise", [0.0, 0.002])
@pytest.mark.parametrize("ratio", [1.0, 0.45])
def test_turns_and_overlaps(leak, noise, ratio):
    """What is left of the other, and noise, are no speech."""
    one = voice([(0.5, 3.0), (6.0, 7.0)], seed=1)
    two = ratio * voice([(2.0, 5.0), (6.0, 8.0)], seed=2)
    voices = np.stack([one + leak * two, two + leak * one])
    rng = np.random.default_rng(3)
    voices += np.float32(noise * rng.standard_normal(voices.shape))
    agree(turns_of(voices), WANTED)


@pytest.mark.parametrize("level", [0.003, 1e-3, 0.0])
def test_an_output_that_nobody_has_is_silent(level):
    """Its noise is alone in the pauses of the other."""
    one = voice([(1.0, 4.0), (6.0, 9.0)])
    hiss = np.random.default_rng(5).standard_normal(len(one))
    idle = np.float32(level * hiss) + 0.03 * one
    agree(turns_of(np.stack([one, idle])), [(0, 1.0, 4.0), (0, 6.0, 9.0)])


def test_short_pauses_are_bridged_and_clicks_left_out():
    one = voice([(1.0, 2.0), (2.15, 3.0), (3.6, 4.0), (6.0, 6.05)])
    agree(turns_of(one[None]), [(0, 1.0, 3.0), (0, 3.6, 4.0)])


def test_one_who_never_pauses():
    agree(turns_of(voice([(0, 10)])[None]), [(0, 0.0, 10.0)])


@pytest.mark.parametrize(
    "cuts", [(1,), (799, 801, 40001), range(1, 80000, 997)]
)
def test_blocks_do_not_matter(cuts):
    voices = np.stack([voice([(0.5, 3.0)]), voice([(2.0, 5.0)], seed=1)])
    assert turns_of(voices, list(cuts)) == turns_of(voices)


@pytest.mark.parametrize("rate", [44100, 100, 30])
def test_any_rate(rate):
    """Also where a frame is no whole number of samples."""
    seconds = 10
    tone = np.float32(np.random.default_rng(0).standard_normal(seconds * rate))
    tone[4 * rate :] = 0
    ((_, start, end),) = turns_of(tone[None], rate=rate)
    assert start == 0 and end == pytest.approx(4.0, abs=0.2)


def test_nothing_has_passed():
    assert Activity(RATE).turns() == []


@pytest.mark.parametrize("shape", [(0, 8000), (2, 8000), (2, 10), (1, 0)])
def test_nobody(shape):
    assert turns_of(np.zeros(shape, np.float32)) == []


def test_rttm():
    lines = rttm([Turn(0, 0.5, 2.25), Turn(1, 1.0, 1.5)], "a b").splitlines()
    fields = [line.split() for line in lines]
    assert fields == [
        [
            "SPEAKER",
            "a_b",
            "1",
            "0.500",
            "1.750",
            *["<NA>"] * 2,
            "s1",
            *["<NA>"] * 2,
        ],
        [
            "SPEAKER",
            "a_b",
            "1",
            "1.000",
            "0.500",
            *["<NA>"] * 2,
            "s2",
            *["<NA>"] * 2,
        ],
    ]
