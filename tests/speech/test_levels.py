"""Active levels agree with ITU-T P.56 done by hand, and with closed forms."""

import math

import numpy as np
import pytest
from wsj0_tree import p56_by_sample

from dpcl_dprnn.speech.levels import (
    HANGOVER,
    MARGIN,
    TIME_CONSTANT,
    active_level,
)

RATES = (8000, 16000)


def noise(seconds, rate=8000, seed=0):
    return np.random.default_rng(seed).standard_normal(int(seconds * rate))


def tone(seconds, rate=8000, amplitude=0.5, frequency=440):
    times = np.arange(int(seconds * rate)) / rate
    return amplitude * np.sin(2 * np.pi * frequency * times)


def speechlike(seconds, rate=8000, seed=0):
    """Noise whose loudness swings by 30 dB, syllables at 4 Hz, with pauses."""
    times = np.arange(int(seconds * rate)) / rate
    loudness = 10 ** (1.5 * np.sin(2 * np.pi * 4 * times) / 2)
    talks = np.sin(2 * np.pi * 0.3 * times) > -0.4
    return 0.01 * loudness * talks * noise(seconds, rate, seed)


def decibels(level, reference):
    return 10 * math.log10(level / reference)


SIGNALS = {
    "speech at 8 kHz": (speechlike(1.5), 8000),
    "speech at 16 kHz": (speechlike(1, 16000), 16000),
    "odd rate": (speechlike(1, 11025), 11025),
    "noise": (0.1 * noise(0.5), 8000),
    "tone": (tone(0.7), 8000),
    "shorter than the hangover": (0.1 * noise(0.1), 8000),
    "silence around": (np.pad(0.2 * noise(0.3), 3000), 8000),
    "quiet": (1e-4 * speechlike(1), 8000),
    "an offset": (0.05 + 0.1 * noise(0.5), 8000),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_agrees_with_the_standards_loop(name):
    samples, rate = SIGNALS[name]
    expected = p56_by_sample(samples, rate)
    assert active_level(samples, rate) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("amplitude", [1.0, 0.5, 0.01])
def test_tone(rate, amplitude):
    level = active_level(tone(10, rate, amplitude), rate)
    assert abs(decibels(level, amplitude**2 / 2)) < 0.1


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("deviation", [0.2, 0.003])
def test_noise(rate, deviation):
    level = active_level(deviation * noise(10, rate), rate)
    assert abs(decibels(level, deviation**2)) < 0.1


def burst_level(seconds):
    """The level of noise of power 1, on for some seconds, then off for long.

    The envelope of a step is 1 - (1 + u) e^-u times the mean magnitude, with
    u the time over the time constant; the active time, which runs to the
    hangover's end, and the threshold depend on one another.
    """

    def time_to(remaining):
        low, high = 0.0, 50.0
        for _ in range(60):
            u = (low + high) / 2
            low, high = (
                (u, high) if (1 + u) * math.exp(-u) > remaining else (low, u)
            )
        return u * TIME_CONSTANT

    level = 1.0
    for _ in range(50):
        threshold = math.sqrt(level) * 10 ** (-MARGIN / 20)
        share = threshold / math.sqrt(2 / math.pi)
        rise, fall = time_to(1 - share), time_to(share)
        level = seconds / (seconds - rise + fall + HANGOVER)
    return level


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("bursts, seconds", [(1, 10), (8, 1), (20, 0.5)])
def test_half_silence(rate, bursts, seconds):
    """Pauses do not count, but for the hangover: here its share is known."""
    samples = noise(bursts * seconds * 2, rate).reshape(2 * bursts, -1)
    samples[1::2] = 0
    measured = active_level(samples.reshape(-1), rate)
    assert abs(decibels(measured, burst_level(seconds))) < 0.1
    # And hence it is not the mean power, nor a pause too many.
    assert decibels(measured, np.mean(samples**2)) > 1


def test_rates_agree():
    """What does not depend on the band is the same at both rates."""
    for seconds, make in ((10, tone), (10, speechlike)):
        low, high = (active_level(make(seconds, rate), rate) for rate in RATES)
        assert abs(decibels(high, low)) < 0.1


@pytest.mark.parametrize("make", [tone, noise, speechlike])
def test_scaling(make):
    samples = make(5)
    level = active_level(samples, 8000)
    for factor in (0.001, 0.3, 3.7, 1e-6):
        scaled = active_level(factor * samples, 8000)
        assert abs(decibels(scaled, factor**2 * level)) < 0.1
    for factor in (2.0**-20, 0.25, 2.0, 32768.0):
        scaled = active_level(factor * samples, 8000)
        assert scaled == pytest.approx(factor**2 * level, rel=1e-12)
    assert active_level(-samples, 8000) == level


@pytest.mark.parametrize("before, after", [(5, 0), (0, 5), (7, 9)])
def test_silence_around_hardly_counts(before, after):
    """The hangover of 10 s of speech is 0.1 dB."""
    samples = noise(10)
    padded = np.pad(samples, (before * 8000, after * 8000))
    change = decibels(active_level(padded, 8000), active_level(samples, 8000))
    assert -0.15 < change < 0.1
    if not after:
        assert abs(change) < 0.02


def test_faint_hiss_in_pauses_is_no_speech():
    samples = noise(20).reshape(20, -1)
    samples[1::2] *= 0.01
    assert abs(
        decibels(active_level(samples.ravel(), 8000), burst_level(1))
    ) < (0.1)


@pytest.mark.parametrize("length", [0, 1, 100, 80000])
def test_silence_is_zero(length):
    assert active_level(np.zeros(length), 8000) == 0.0


@pytest.mark.parametrize("position", [0, 4000, 7999])
@pytest.mark.parametrize("height", [1.0, 1 / 32768, 1e-30])
def test_click_is_finite(position, height):
    samples = np.zeros(8000)
    samples[position] = height
    level = active_level(samples, 8000)
    # Its energy over the hangover, or over what is left of it.
    shortest, longest = (min(n, 8000 - position) for n in (1600, 2400))
    assert 1 / longest <= level / height**2 * (1 + 1e-9)
    assert 1 / shortest >= level / height**2 * (1 - 1e-9)


@pytest.mark.parametrize("length", [1, 2, 7])
def test_a_few_samples(length):
    """Too short for an envelope; the energy bounds what comes out."""
    level = active_level(np.full(length, 0.5), 8000)
    assert 0 < level <= 0.25 * length


@pytest.mark.parametrize("dtype", [np.float32, np.int16, list])
def test_other_types_of_samples(dtype):
    """The squares of int16 would not fit into int16."""
    samples = np.round(5000 * noise(1))
    other = samples.tolist() if dtype is list else samples.astype(dtype)
    level = active_level(other, 8000)
    assert level == active_level(samples, 8000)
    assert isinstance(level, float)
