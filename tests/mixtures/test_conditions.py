"""Rooms, noise, telephones and codecs do to a signal what they say."""

import numpy as np
import pytest

from dpcl_dprnn.mixtures.conditions import (
    CODECS,
    in_noise,
    in_room,
    telephone_band,
    through_codec,
)

RATE = 8000


def voice(length, seed=0):
    """Harmonics that come and go, and some breath."""
    rng = np.random.default_rng(seed)
    time = np.arange(length) / RATE
    sound = sum(np.sin(2 * np.pi * 150 * k * time) / k for k in range(1, 20))
    sound *= 1.2 + np.sin(2 * np.pi * 4 * time)
    sound += 0.01 * rng.standard_normal(length)
    return np.float32(0.9 * sound / np.abs(sound).max())


@pytest.mark.parametrize(
    "target, kept", [(None, (1.0, 0.5, 0.3)), (40, (1.0, 0.5)), (0, (1.0,))]
)
def test_room(target, kept):
    """The sum of what comes directly and of its echoes."""
    dry = voice(2000)
    response = np.zeros(500, np.float32)
    places = (7, 47, 307)
    response[list(places)] = 1.0, 0.5, 0.3
    wet, found = in_room(dry, response, target)

    def echoes(factors):
        sound = np.zeros(2000)
        for place, factor in zip(places, factors, strict=False):
            delay = place - places[0]
            sound[delay:] += factor * dry[: 2000 - delay]
        return sound

    whole = echoes((1.0, 0.5, 0.3))
    factor = np.sqrt(np.square(dry).sum() / np.square(whole).sum())
    np.testing.assert_allclose(wet, factor * whole, atol=1e-5)
    np.testing.assert_allclose(found, factor * echoes(kept), atol=1e-5)


@pytest.mark.parametrize("ratio", [-5.0, 0.0, 20.0])
@pytest.mark.parametrize("length", [300, 5000])
def test_noise(ratio, length):
    mixture = voice(3000)
    noise = np.random.default_rng(1).standard_normal(length)
    added = in_noise(mixture, np.float32(noise), ratio) - mixture
    energies = np.square(mixture).sum(), np.square(added).sum()
    assert 10 * np.log10(energies[0] / energies[1]) == pytest.approx(
        ratio, abs=1e-3
    )
    shape = np.resize(noise, 3000)
    assert np.corrcoef(added, shape)[0, 1] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_telephone_band(seed):
    """Lows and highs go, the middle stays, and the sum holds."""
    time = np.arange(8000) / RATE
    tones = np.float32([np.sin(2 * np.pi * f * time) for f in (80, 1000, 3950)])
    signals = np.vstack([tones.sum(axis=0), tones])
    mixture, *sources = telephone_band(
        signals, RATE, np.random.default_rng(seed)
    )
    gains = [
        10 * np.log10(np.mean(new[4000:] ** 2) / np.mean(old[4000:] ** 2))
        for new, old in zip(sources, tones, strict=True)
    ]
    assert gains[0] < -20 and gains[2] < -15 and abs(gains[1]) < 0.5
    assert mixture.dtype == np.float32
    np.testing.assert_allclose(mixture, sum(sources), atol=1e-4)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("length", [8000, 4001, 90])
def test_codecs(codec, length):
    """Like the signal, as loud and not later; not the signal itself."""
    signal = voice(length)
    decoded = through_codec(signal, RATE, codec, np.random.default_rng(3))
    assert decoded.shape == signal.shape and decoded.dtype == np.float32
    assert not np.array_equal(decoded, signal)
    again = through_codec(signal, RATE, codec, np.random.default_rng(3))
    assert np.array_equal(decoded, again)
    if length < 1000:
        return
    middle = slice(500, length - 500)
    error = np.square(decoded - signal)[middle].sum()
    assert error < 0.5 * np.square(signal)[middle].sum()
    fits = [
        np.roll(decoded, -lag)[middle] @ signal[middle]
        for lag in range(-20, 21)
    ]
    assert abs(np.argmax(fits) - 20) <= 1  # ADPCM follows steep slopes late
