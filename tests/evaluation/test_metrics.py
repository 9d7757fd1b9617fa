"""Scores agree with closed forms and with their definitions."""

import numpy as np
import pytest

from dpcl_dprnn.evaluation.metrics import (
    perceptual_metrics,
    score_utterance,
    sdr,
)

RATE = 8000


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def lstsq_sdr(estimate, source, taps=512):
    """BSS Eval 3: projection on the source and its delayed copies."""
    padded = np.pad(source, (0, taps - 1))
    delayed = np.stack([np.roll(padded, k) for k in range(taps)], axis=1)
    estimate = np.pad(estimate, (0, taps - 1))
    gains = np.linalg.lstsq(delayed, estimate, rcond=None)[0]
    target = delayed @ gains
    noise = estimate - target
    return 10 * np.log10((target @ target) / (noise @ noise))


def speech_like(rng, seconds, num_spks=2):
    """Noise that comes and goes as syllables do, a few times a second."""
    time = np.arange(int(seconds * RATE)) / RATE
    rates = np.array([3.0, 4.1, 5.3])[:num_spks, None]
    envelope = np.maximum(np.sin(2 * np.pi * rates * time), 0) + 0.01
    return 0.1 * envelope * rng.standard_normal((num_spks, len(time)))


@pytest.mark.parametrize("num_spks", [2, 3])
@pytest.mark.parametrize("decibels", [-5, 0, 12, 30])
def test_si_snr_of_orthogonal_noise_is_its_level(num_spks, decibels, rng):
    basis = rng.standard_normal((1000, 2 * num_spks + 1))
    basis[:, 0] = 1
    basis = np.linalg.qr(basis)[0].T[1:] * 30
    sources, noise = np.split(basis, 2)
    estimates = sources + 10 ** (-decibels / 20) * noise
    mixture = sources.sum(axis=0)
    scores, permutation = score_utterance(mixture, estimates, sources)
    assert permutation.tolist() == list(range(num_spks))
    assert scores["si-snr"] == pytest.approx(decibels, abs=0.02)
    # In the mixture the other sources are orthogonal noise, too
    gain = decibels + 10 * np.log10(num_spks - 1)
    assert scores["si-snr_i"] == pytest.approx(gain, abs=0.02)


def test_scores_are_means_over_speakers(rng):
    sources = rng.standard_normal((2, 2000))
    noise = rng.standard_normal((2, 2000)) * [[0.1], [1.0]]
    both, _ = score_utterance(sources.sum(0), sources + noise, sources)
    single = [
        score_utterance(sources.sum(0), (s + n)[None], s[None])[0]
        for s, n in zip(sources, noise, strict=True)
    ]
    for name, value in both.items():
        mean = np.mean([scores[name] for scores in single])
        assert value == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("level", [0.01, 0.3, 3.0])
def test_sdr_is_the_least_squares_projection(level, rng):
    sources = rng.standard_normal((2, 1500))
    taps = rng.standard_normal(40)
    filtered = np.stack([np.convolve(s, taps)[:1500] for s in sources])
    estimates = filtered + level * rng.standard_normal((2, 1500))
    estimates += level * sources[::-1]
    expected = list(map(lstsq_sdr, estimates, sources))
    assert sdr(estimates, sources) == pytest.approx(expected, abs=1e-4)


def test_sdr_allows_a_delay_and_si_snr_does_not(rng):
    source = rng.standard_normal((1, 4000))
    source[:, -100:] = 0
    delayed = np.roll(source, 100) + 1e-3 * rng.standard_normal((1, 4000))
    mixture = source[0] + rng.standard_normal(4000)
    scores, _ = score_utterance(mixture, delayed, source)
    assert scores["sdr"] > 40
    assert scores["si-snr"] < -10


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 2, 1]])
def test_permutation_sorts_the_estimates(order, rng):
    sources = rng.standard_normal((3, 1000))
    noisy = sources + 0.1 * rng.standard_normal((3, 1000))
    expected, _ = score_utterance(sources.sum(0), noisy, sources)
    scores, permutation = score_utterance(sources.sum(0), noisy[order], sources)
    assert np.array_equal(noisy[order][permutation], noisy)
    assert scores == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("num_spks", [2, 3])
def test_the_mixture_improves_nothing(num_spks, rng):
    sources = rng.standard_normal((num_spks, 2000))
    mixture = sources.sum(axis=0)
    estimates = np.stack([mixture] * num_spks)
    scores, _ = score_utterance(mixture, estimates, sources)
    assert scores["si-snr_i"] == pytest.approx(0, abs=1e-4)
    assert scores["sdr_i"] == pytest.approx(0, abs=1e-5)
    assert np.isfinite(scores["sdr"])


@pytest.mark.parametrize("scale", [1e-4, 1e-2, 30.0, -1.0, 1e4])
def test_scale_of_estimates_does_not_matter(scale, rng):
    sources = 0.1 * rng.standard_normal((2, 8000))
    estimates = sources + 0.003 * rng.standard_normal((2, 8000))
    expected, _ = score_utterance(sources.sum(0), estimates, sources)
    scores, _ = score_utterance(sources.sum(0), scale * estimates, sources)
    assert scores == pytest.approx(expected, abs=0.02)


def test_silent_source_does_not_count(rng):
    sources = rng.standard_normal((2, 2000))
    noise = 0.1 * rng.standard_normal((2, 2000))
    mixture = sources[0] + noise[0]
    estimates = np.stack([noise[1], sources[0] + 0.3 * noise[0]])
    sources[1] = 0
    scores, permutation = score_utterance(mixture, estimates, sources)
    alone, _ = score_utterance(mixture, estimates[1:], sources[:1])
    assert permutation.tolist() == [1, 0]
    assert scores == pytest.approx(alone)
    assert all(map(np.isfinite, scores.values()))


def test_all_silent_sources_have_no_score(rng):
    estimates = rng.standard_normal((2, 2000))
    silence = np.zeros((2, 2000))
    scores, _ = score_utterance(silence[0], estimates, silence)
    assert np.isnan(list(scores.values())).all()


def test_perfect_estimates_have_scores(rng):
    sources = rng.standard_normal((2, 2000))
    scores, _ = score_utterance(sources.sum(0), sources, sources)
    assert min(scores.values()) > 50


def test_one_voice_alone_has_scores(rng):
    """The mixture is the one source that is not silent."""
    sources = rng.standard_normal((2, 2000))
    sources[1] = 0
    estimates = sources + 0.1 * rng.standard_normal((2, 2000))
    scores, _ = score_utterance(sources[0], estimates, sources)
    assert 15 < scores["sdr"] < 40
    assert scores["si-snr"] == pytest.approx(20, abs=1)


def test_estimate_that_shares_no_sample_with_its_source_has_a_low_score(rng):
    """Two voices, one after the other, swapped by neither estimate."""
    sources = np.zeros((2, 4000))
    sources[0, :1000] = rng.standard_normal(1000)
    sources[1, 3000:] = rng.standard_normal(1000)
    estimates = np.stack([sources.sum(axis=0), sources[0]])
    scores = sdr(estimates, sources)
    assert scores[1] < -30 or np.isnan(scores[1])


def test_silent_estimate_is_no_improvement(rng):
    """A head that loses a voice must not score above one that tries."""
    sources = rng.standard_normal((2, 2000))
    mixture = sources.sum(axis=0)
    tried = sources + 0.3 * rng.standard_normal((2, 2000))
    tried[1] = rng.standard_normal(2000)
    silent = tried.copy()
    silent[1] = 0
    worse, _ = score_utterance(mixture, silent, sources)
    better, _ = score_utterance(mixture, tried, sources)
    assert not worse["si-snr"] > better["si-snr"]
    assert not worse["sdr"] > better["sdr"]


@pytest.mark.parametrize("length", [1, 2, 100, 511, 512])
def test_short_signals_have_no_sdr(length, rng):
    sources = rng.standard_normal((2, length))
    estimates = sources + 0.1 * rng.standard_normal((2, length))
    scores, _ = score_utterance(sources.sum(0), estimates, sources)
    assert np.isnan([scores["sdr"], scores["sdr_i"]]).all()
    assert np.isfinite(scores["si-snr"]) == (length > 1)


def test_arguments_are_not_changed(rng):
    sources = rng.standard_normal((2, 1000)).astype(np.float32)
    arguments = [sources.sum(0), sources[::-1].copy(), sources]
    arguments[1] += 0.1 * arguments[0]
    before = [x.copy() for x in arguments]
    score_utterance(*arguments, rate=RATE)
    assert all(map(np.array_equal, arguments, before))


# PESQ and STOI


@pytest.mark.parametrize("name", ["pesq", "stoi"])
def test_perceptual_scores_follow_the_noise(name, rng):
    pytest.importorskip({"pesq": "pesq", "stoi": "pystoi"}[name])
    sources = speech_like(rng, seconds=2)
    noise = rng.standard_normal(sources.shape)
    values = []
    for level in (0.1, 0.01, 0.001):
        arguments = sources.sum(0), (sources + level * noise)[::-1], sources
        scores, _ = score_utterance(*arguments, rate=RATE)
        values.append(scores[name])
    assert values == sorted(values)
    assert values[0] < values[-1]


def test_perceptual_scores_only_if_asked_for(rng):
    sources = speech_like(rng, seconds=0.5)
    scores, _ = score_utterance(sources.sum(0), sources[::-1] + 1e-3, sources)
    assert list(scores) == ["sdr", "sdr_i", "si-snr", "si-snr_i"]


@pytest.mark.parametrize("length", [1, 2, 100, 400, 600, 1500])
def test_perceptual_scores_of_short_signals_are_not_defined(length, rng):
    sources = rng.standard_normal((2, length))
    estimates = sources + 0.1 * rng.standard_normal((2, length))
    scores, _ = score_utterance(sources.sum(0), estimates, sources, rate=RATE)
    for name in perceptual_metrics():
        assert np.isnan(scores[name]), name


def test_perceptual_scores_of_a_silent_estimate_are_not_defined(rng):
    source = speech_like(rng, seconds=1)[0]
    for name, metric in perceptual_metrics().items():
        assert np.isnan(metric(source, 0 * source, RATE)), name


def test_pesq_has_two_rates(rng):
    pytest.importorskip("pesq")
    pesq = perceptual_metrics()["pesq"]
    source = speech_like(rng, seconds=1)[0]
    noisy = source + 0.001 * rng.standard_normal(len(source))
    assert np.isfinite([pesq(source, noisy, r) for r in (8000, 16000)]).all()
    assert np.isnan(pesq(source, noisy, 44100))
