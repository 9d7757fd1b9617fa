"""What cannot be heard is taken off, and nothing else."""

import numpy as np
import pytest
from sounds import RATE, noise

from dpcl_dprnn.sound.rumble import stream_without_rumble, without_rumble

TIME = np.arange(4 * RATE) / RATE


def tone(frequency, phase=0.3):
    return np.sin(2 * np.pi * frequency * TIME + phase)


def decibels(part, whole):
    return 10 * np.log10(np.mean(part**2) / np.mean(whole**2))


@pytest.mark.parametrize("frequency", [1, 5, 10, 20])
def test_rumble_goes(frequency):
    signal = tone(frequency)
    # At the ends it goes on in its mirror image, which has a kink.
    assert decibels(without_rumble(signal, RATE), signal) < -25
    inner = slice(RATE // 2, -RATE // 2)
    rest = without_rumble(signal, RATE)[inner]
    assert decibels(rest, signal[inner]) < -55


@pytest.mark.parametrize("frequency", [50, 60, 100, 1000, 3900])
def test_what_can_be_heard_stays(frequency):
    """Hum of 50 Hz does: it is a noise, and not shifted."""
    signal = tone(frequency)
    error = without_rumble(signal, RATE) - signal
    assert decibels(error[RATE // 2 : -RATE // 2], signal) < -55


@pytest.mark.parametrize("rate", [8000, 11025, 48000])
def test_an_offset_goes_up_to_the_ends(rate):
    signal = noise(3000, 2).T.astype(np.float64)
    without = without_rumble(signal, rate)
    assert without_rumble(signal + 7.0, rate) == pytest.approx(
        without, abs=1e-9
    )
    assert decibels(without - signal, signal) < -12


@pytest.mark.parametrize("length", [1, 2, 100, 969, 970, 40000])
@pytest.mark.parametrize("size", [1, 700, 9000])
def test_in_blocks_as_a_whole(length, size):
    signal = noise(length)
    blocks = [signal[n : n + size] for n in range(0, length, size)]
    got = np.concatenate(list(stream_without_rumble(blocks, RATE)))
    assert got.dtype == signal.dtype == np.float32
    assert got == pytest.approx(without_rumble(signal, RATE), abs=1e-6)


def test_a_signal_of_no_samples():
    assert without_rumble(np.zeros((2, 0)), RATE).shape == (2, 0)
