"""Examples of the report: sound, spectrograms, masks and embeddings."""

import base64

import numpy as np
import torch

from ..evaluation.scoring import PEAK
from ..sound.audio import wav_bytes
from .figures import NAMES, new_axes, picture, style

WINDOW = 0.032  # s; 256 samples at 8 kHz, as in deep clustering
RANGE = 60.0  # dB that a spectrogram's colours span
NO_SOUND = "white"  # no colour of the masks
# Speakers have other colours than heads (see figures.COLOURS).
SPEAKERS = ("#CC79A7", "#009E73", "#E69F00", "#56B4E9", "#000000")
SPEAKER_MARKERS = "o^sDv"


def example_context(example):
    """What the page shows of a `files.Example`.

    `name`, `kind`, `turned_down` (dB, 0 for none), `embeddings` (a picture or
    None), and `rows` of tracks, each with a `label`, `audio` (data URL) and
    `picture`.
    """
    groups = {"mixture": example.mixture[None], "reference": example.sources}
    for head, estimates in example.estimates.items():
        groups[NAMES[head]] = estimates
    groups = {  # What a diverged model gives, NaN, is played as silence.
        name: np.nan_to_num(tracks.astype(np.float64), posinf=0, neginf=0)
        for name, tracks in groups.items()
    }
    # One gain for all, with which the loudest does not clip.
    peak = max(float(np.abs(tracks).max()) for tracks in groups.values())
    gain = PEAK / max(peak, PEAK)
    groups = {name: gain * tracks for name, tracks in groups.items()}
    spectra = {
        name: [stft(track, example.rate) for track in tracks]
        for name, tracks in groups.items()
    }
    scale = shared_scale(s for group in spectra.values() for s in group)
    (mixture,) = spectra["mixture"]
    rows = []
    for name, tracks in groups.items():
        masks = [None]
        if name != "mixture":
            masks = ratio_masks(spectra[name], mixture, floor=scale[0])
        row = zip(tracks, spectra[name], masks, strict=True)
        rows.append(
            [
                _track(example, name, number, scale, *each)
                for number, each in enumerate(row, start=1)
            ]
        )
    embeddings = None
    if example.embeddings is not None:
        embeddings = embedding_picture(example.embeddings, example.speakers)
    return {
        "name": example.name,
        "kind": example.kind,
        "turned_down": float(-20 * np.log10(gain)),
        "embeddings": embeddings,
        "rows": rows,
    }


def _track(example, name, number, scale, samples, spectrum, mask):
    """A track of the page, with its sound and picture."""
    label, kind = f"Speaker {number}, {name}", "Spectrogram and mask"
    if mask is None:
        label, kind = "Mixture", "Spectrogram"
    figure = track_figure(spectrum, scale, example.rate, mask)
    audio = base64.b64encode(wav_bytes(samples, example.rate)).decode("ascii")
    return {
        "label": label,
        "audio": f"data:audio/wav;base64,{audio}",
        "picture": picture(figure, f"{kind}: {label}, {example.name}."),
    }


def stft(signal, rate):
    """Short-time Fourier transform [F, L] of samples [T] at a rate in Hz, with a
    Hann window of 32 ms and a quarter's hop.

    Complex; a sine of full scale, 1.0, has magnitude 1. Frame l is centred on
    sample l * hop.

    Example
    -------
    >>> sine = np.sin(2 * np.pi * 1000 / 8000 * np.arange(8000))
    >>> spectrum = np.abs(stft(sine, 8000))
    >>> spectrum.shape, int(spectrum[:, 60].argmax()), spectrum[32, 60].round(3)
    ((129, 126), 32, np.float64(1.0))
    """
    size, hop = _sizes(rate)
    window = torch.hann_window(size, dtype=torch.float64)
    spectrum = torch.stft(
        torch.as_tensor(signal, dtype=torch.float64),
        *(size, hop),
        window=window,
        pad_mode="constant",
        return_complex=True,
    )
    return (spectrum * 2 / window.sum()).numpy()


def decibels(spectrum):
    """Magnitudes in dB, not under -200."""
    return 20 * np.log10(np.maximum(np.abs(spectrum), 1e-10))


def shared_scale(spectra):
    """One colour scale for all spectra of `stft`, by its ends in dB: `RANGE`
    below the loudest bin of all, and that.

    Example
    -------
    >>> low, high = shared_scale([np.array([[0.1]]), np.array([[0.5]])])
    >>> round(low, 1), round(high, 1)
    (-66.0, -6.0)
    """
    high = float(max(decibels(spectrum).max() for spectrum in spectra))
    return high - RANGE, high


def ratio_masks(spectra, mixture, floor):
    """Share of each of C tracks [F, L] in the power of all of them, |E_i|^2 /
    sum |E_j|^2: in [0, 1]; NaN where all are silent, or the mixture [F, L] lies
    under a floor in dB.
    """
    power = np.abs(np.stack(spectra)) ** 2
    total = power.sum(axis=0)
    sound = (total > 0) & (decibels(mixture) >= floor)
    return np.where(sound, power / np.where(total > 0, total, 1.0), np.nan)


def track_figure(spectrum, scale, rate, mask=None):
    """A figure with the spectrum [F, L] of a track, on a `shared_scale`, and,
    below it, its mask [F, L]; the rate is in Hz.
    """
    from matplotlib.figure import Figure

    images = [(decibels(spectrum), *scale, "magma", "dB re full scale")]
    if mask is not None:
        images.append((mask, 0.0, 1.0, "viridis", "mask"))
    height = 0.5 + 1.75 * len(images)
    with style(**{"axes.grid": False, "font.size": 9}):
        figure = Figure(figsize=(4.2, height))
        # Fixed places: tracks stand one under the other.
        rows = figure.subplots(
            len(images),
            2,
            sharex="col",
            squeeze=False,
            width_ratios=(30, 1),
            gridspec_kw={
                "left": 0.1,
                "right": 0.86,
                "bottom": 0.45 / height,
                "top": 1 - 0.08 / height,
                "hspace": 0.12,
                "wspace": 0.07,
            },
        )
        for axes, image in zip(rows, images, strict=True):
            _draw(figure, *axes, rate, *image)
        rows[-1, 0].set_xlabel("time (s)")
    return figure


def _draw(figure, axes, bar, rate, values, low, high, colours, name):
    from matplotlib import colormaps

    size, hop = _sizes(rate)
    step, half = hop / rate, rate / size / 2000  # s, kHz
    shown = axes.imshow(
        values,
        origin="lower",
        aspect="auto",
        interpolation_stage="data",  # averages of values, not of colours
        cmap=colormaps[colours].with_extremes(bad=NO_SOUND),
        vmin=low,
        vmax=high,
        # Frames and bins are centred on their times and frequencies.
        extent=(
            *(-step / 2, (values.shape[1] - 0.5) * step),
            *(-half, rate / 2000 + half),
        ),
    )
    axes.set_xlim(0, max(step, (values.shape[1] - 1) * step))
    axes.set_ylim(0, rate / 2000)
    axes.set_ylabel("kHz")
    figure.colorbar(shown, cax=bar, label=name)


def embedding_picture(embeddings, speakers):
    """A `picture` of embeddings [P, D] of bins in their two main directions, by
    the speaker, from 0 on, that dominates each [P]; None where there are too
    few bins or dimensions.
    """
    from sklearn.decomposition import PCA

    known = np.isfinite(embeddings).all(axis=1)
    embeddings, speakers = embeddings[known], speakers[known]
    if min(embeddings.shape) < 2:
        return None
    pca = PCA(2, svd_solver="full")
    points = pca.fit_transform(embeddings.astype(np.float64))
    shares = [f"{100 * share:.0f} %" for share in pca.explained_variance_ratio_]
    with style():
        figure, axes = new_axes(
            xlabel=f"1st principal component ({shares[0]} of variance)",
            ylabel=f"2nd ({shares[1]})",
            size=(4.2, 3.3),
        )
        for speaker in np.unique(speakers):
            axes.scatter(
                *points[speakers == speaker].T,
                s=6,
                marker=SPEAKER_MARKERS[speaker % len(SPEAKER_MARKERS)],
                color=SPEAKERS[speaker % len(SPEAKERS)],
                alpha=0.5,
                linewidths=0,
                label=f"speaker {speaker + 1}",
            )
        # Else noise in the second direction would look like a spread.
        axes.set_aspect("equal", adjustable="datalim")
        axes.legend(markerscale=2)
        return picture(
            figure,
            "Embeddings of time-frequency bins in two dimensions, coloured "
            "by the speaker that dominates the bin.",
        )


def _sizes(rate):
    """Window and hop in samples; the window is a multiple of four."""
    hop = round(WINDOW * rate / 4)
    return 4 * hop, hop
