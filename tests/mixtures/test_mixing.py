"""Mixtures keep the rule of wsj0-mix, to the bit where it has one."""

import numpy as np
import pytest

from dpcl_dprnn.mixtures.rendering import mix_sources
from dpcl_dprnn.speech.levels import active_level


def burst(seed, seconds, rate=8000):
    """Noise with a pause at either end."""
    rng = np.random.default_rng(seed)
    samples = 0.05 * (1 + seed % 7) * rng.standard_normal(int(seconds * rate))
    pause = rate // 10
    samples[:pause] = samples[-pause:] = 0
    return np.clip(samples, -0.9, 0.9)


def rule(sources, levels, gains_db, length):
    """The rule of wsj0-mix before rounding, in steps of 16 bits."""
    scaled = np.zeros((len(sources), length))
    for n, source in enumerate(sources):
        part = source[:length] / np.sqrt(levels[n]) * 10 ** (gains_db[n] / 20)
        scaled[n, : len(part)] = part
    mixture = np.sum(scaled, axis=0)
    peak = np.abs(np.vstack([mixture, scaled])).max()
    return 32768 * 0.9 * mixture / peak, 32768 * 0.9 * scaled / peak


def check_within_half_a_step(samples, exact):
    assert samples.dtype == np.int16 and samples.shape == exact.shape
    assert np.abs(samples - exact).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("mode, length", [("min", 6000), ("max", 9000)])
@pytest.mark.parametrize("n_spks", [2, 3])
def test_mix_sources_is_the_rule(mode, length, n_spks):
    """Each file rounded on its own: so sums differ by a step or two."""
    sources = [burst(1, 6000 / 8000), burst(2, 9000 / 8000), burst(3, 1)]
    sources = sources[:n_spks]
    levels, gains = [0.02, 0.3, 0.11][:n_spks], [2.0, -2.0, 0.5][:n_spks]
    before = [source.copy() for source in sources]
    mixture, scaled = mix_sources(sources, levels, gains, mode)
    exact_mixture, exact = rule(sources, levels, gains, length)
    check_within_half_a_step(mixture, exact_mixture)
    check_within_half_a_step(scaled, exact)
    errors = np.abs(mixture - scaled.astype(int).sum(axis=0))
    assert 1 <= errors.max() <= (n_spks + 1) / 2
    np.testing.assert_equal(sources, before)


def test_mix_sources_sets_the_gains():
    sources = [burst(1, 1.0), burst(2, 1.5), burst(3, 1.2)]
    levels = [active_level(source, 8000) for source in sources]
    _, scaled = mix_sources(sources, levels, [1.7, -1.7, 0.0], "max")
    # Without what pads them: the hangover would count some of it.
    heard = [s[: len(o)] for s, o in zip(scaled, sources, strict=True)]
    heard = 10 * np.log10([active_level(s, 8000) for s in heard])
    assert heard[0] - heard[1] == pytest.approx(3.4, abs=0.01)
    assert heard[0] - heard[2] == pytest.approx(1.7, abs=0.01)


def test_peak_may_be_a_source():
    """Sources that cancel: the source, not the mixture, sets the scale."""
    tone = np.sin(np.arange(8000))
    mixture, scaled = mix_sources([tone, -tone], [0.5, 0.5], [0.0, 0.0])
    assert not mixture.any()
    assert abs(scaled.max() - 0.9 * 32768) < 1


def test_pauses_longer_than_the_cut():
    """Nothing to hear in any source: silence, and no division by zero."""
    late = np.concatenate([np.zeros(500), np.ones(500)])
    early = np.zeros(400)
    with np.errstate(all="raise"):
        mixture, scaled = mix_sources([late, early], [0.5, 1.0], [1.0, -1.0])
    assert mixture.shape == (400,) and scaled.shape == (2, 400)
    assert not mixture.any() and not scaled.any()
