"""Examples of the report: their sound and pictures, track by track."""

import base64
import io

import numpy as np
import soundfile

from ..evaluation.scoring import PEAK
from .figures import NAMES, picture
from .spectra import (
    embedding_picture,
    ratio_masks,
    shared_scale,
    stft,
    track_figure,
)


def example_context(example):
    """What the page shows of an example.

    Arguments
    ---------
    example : files.Example

    Returns
    -------
    dict
        `name`, `kind`, `turned_down` (dB, 0 for none), `embeddings` (a
        picture or None), and `rows` of tracks, each with a `label`, `audio`
        (data URL) and `picture`.
    """
    groups = {"mixture": example.mixture[None], "reference": example.sources}
    for head, estimates in example.estimates.items():
        groups[NAMES[head]] = estimates
    groups = {  # What a diverged model gives, NaN, is played as silence.
        name: np.nan_to_num(tracks.astype(np.float64), posinf=0, neginf=0)
        for name, tracks in groups.items()
    }
    gain = shared_gain(groups.values())
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
    return {
        "label": label,
        "audio": wav_url(samples, example.rate),
        "picture": picture(figure, f"{kind}: {label}, {example.name}."),
    }


def shared_gain(groups):
    """The gain for all tracks with which the loudest does not clip.

    Arguments
    ---------
    groups : iterable of numpy.ndarray, [..., T]
        Full scale at 1.0.

    Returns
    -------
    float
        At most 1.

    Example
    -------
    >>> shared_gain([np.array([0.5]), np.array([0.2, -1.98])])
    0.5
    """
    peak = max(float(np.abs(tracks).max()) for tracks in groups)
    return min(1.0, PEAK / max(peak, PEAK))


def wav_url(samples, rate):
    """A data URL of a 16-bit WAV file.

    Arguments
    ---------
    samples : numpy.ndarray, [T]
        Full scale at 1.0; not scaled.
    rate : int
        Samples per second.

    Returns
    -------
    str

    Example
    -------
    >>> wav_url(np.zeros(2), 8000)[:26]
    'data:audio/wav;base64,UklG'
    """
    content = io.BytesIO()
    whole = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
    soundfile.write(content, whole, rate, format="WAV", subtype="PCM_16")
    data = base64.b64encode(content.getvalue()).decode("ascii")
    return f"data:audio/wav;base64,{data}"
