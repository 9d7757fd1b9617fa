"""Examples sound and look alike: one gain, one colour scale."""

import numpy as np
import pytest
import scipy.signal
from past_run import RATE, signals, sound, write_example

from dpcl_dprnn.report import spectra
from dpcl_dprnn.report.files import read_example
from dpcl_dprnn.report.spectra import (
    RANGE,
    decibels,
    embedding_picture,
    example_context,
    ratio_masks,
    shared_scale,
    stft,
    track_figure,
)


def tracks(context):
    return [track for row in context["rows"] for track in row]


def planted(tmp_path, **other):
    return read_example(write_example(tmp_path, "u", "best", **other))


def test_sound_is_that_of_the_signals(tmp_path):
    example = planted(tmp_path)
    context = example_context(example)
    expected = [
        example.mixture,
        *example.sources,
        *example.estimates["masks"],
        *example.estimates["kmeans"],
    ]
    assert context["turned_down"] == 0
    assert len(tracks(context)) == len(expected)
    for track, signal in zip(tracks(context), expected, strict=True):
        samples, rate = sound(track["audio"])
        assert rate == RATE
        np.testing.assert_array_equal(samples, np.round(signal * 32768))


def test_all_tracks_are_turned_down_alike(tmp_path):
    """One estimate would clip: it keeps its level against the others."""
    quiet = planted(tmp_path)
    masks = quiet.estimates["masks"].copy()
    masks[1] *= 10
    example = planted(tmp_path, masks=masks)
    context = example_context(example)
    gain = 0.99 / np.abs(masks).max()
    assert gain < 1
    assert context["turned_down"] == pytest.approx(-20 * np.log10(gain))
    expected = [example.mixture, *example.sources, *masks]
    for track, signal in zip(tracks(context), expected, strict=False):
        samples, _ = sound(track["audio"])
        np.testing.assert_allclose(samples, 32768 * gain * signal, atol=0.51)


def test_spectrograms_share_a_scale(tmp_path, monkeypatch):
    figures = []

    def record(*args):
        figures.append(track_figure(*args))
        return figures[-1]

    monkeypatch.setattr(spectra, "track_figure", record)
    example = planted(tmp_path, masks=0.01 * signals())  # much softer
    example_context(example)
    norms = [figure.axes[0].images[0].norm for figure in figures]
    assert len(norms) == 7
    assert len({(norm.vmin, norm.vmax) for norm in norms}) == 1
    loudest = max(
        figure.axes[0].images[0].get_array().max() for figure in figures
    )
    assert norms[0].vmax == pytest.approx(loudest)
    assert norms[0].vmin == pytest.approx(loudest - RANGE)
    for figure in figures[1:]:
        (mask,) = figure.axes[2].images
        assert (mask.norm.vmin, mask.norm.vmax) == (0.0, 1.0)


def test_tracks_have_units_and_words_for_them(tmp_path):
    (mixture, *others) = tracks(example_context(planted(tmp_path)))
    assert mixture["label"] == "Mixture"
    assert [t["label"] for t in others[:3]] == [
        "Speaker 1, reference",
        "Speaker 2, reference",
        "Speaker 1, mask head",
    ]
    assert mixture["picture"]["alt"].startswith("Spectrogram: Mixture, u")
    figure = track_figure(stft(signals()[0], RATE), (-60.0, 0.0), RATE)
    labels = {axes.get_ylabel() for axes in figure.axes}
    assert labels == {"kHz", "dB re full scale"}
    assert figure.axes[0].get_xlabel() == "time (s)"


def test_stft_agrees_with_scipy():
    signal = signals()[0]
    _, _, theirs = scipy.signal.stft(
        signal.astype(np.float64), RATE, nperseg=256, noverlap=192
    )
    ours = stft(signal, RATE)
    frames = min(ours.shape[1], theirs.shape[1])
    assert abs(ours.shape[1] - theirs.shape[1]) <= 1
    np.testing.assert_allclose(
        np.abs(ours[:, :frames]), 2 * np.abs(theirs[:, :frames]), atol=1e-6
    )


def test_a_sine_of_full_scale_has_0_db_at_its_frequency():
    time = np.arange(RATE) / RATE
    spectrum = stft(np.sin(2 * np.pi * 1000 * time), RATE)
    levels = decibels(spectrum)[:, 60]
    assert levels.argmax() * RATE / 256 == 1000
    assert levels.max() == pytest.approx(0.0, abs=0.01)
    assert shared_scale([spectrum, 0 * spectrum])[1] == pytest.approx(
        0, abs=0.1
    )


def test_masks_are_shares():
    """They add up to 1; a tone belongs to who sings it; silence to nobody."""
    sources = signals(3)
    sources[:, -600:] = 0
    spectra = [stft(source, RATE) for source in sources]
    mixture = stft(sources.sum(axis=0), RATE)
    masks = ratio_masks(spectra, mixture, floor=-60.0)
    known = np.isfinite(masks)
    assert known.any()
    total = masks.sum(axis=0)
    np.testing.assert_allclose(total[known[0]], 1.0)
    for number in range(3):
        bin_of_tone = round(700 * (number + 1) * 256 / RATE)
        assert (masks[number, bin_of_tone, 4:20] > 0.99).all()
    assert not known[:, :, -4:].any()
    silent = ratio_masks(np.zeros((2, 3, 4)), np.ones((3, 4)), floor=-60.0)
    assert np.isnan(silent).all()


def test_embeddings_need_two_dimensions_and_points():
    rng = np.random.default_rng(0)
    speakers = np.array([0, 1, 0, 1])
    embeddings = rng.standard_normal((4, 5))
    assert embedding_picture(embeddings, speakers)["src"]
    assert embedding_picture(embeddings[:, :1], speakers) is None
    assert embedding_picture(embeddings[:1], speakers[:1]) is None
    assert embedding_picture(np.nan * embeddings, speakers) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_what_a_diverged_model_gives_is_silence(value, tmp_path):
    masks = np.full_like(signals(), value)
    context = example_context(planted(tmp_path, masks=masks))
    assert context["turned_down"] == 0
    for track in tracks(context)[3:5]:
        assert not sound(track["audio"])[0].any()
