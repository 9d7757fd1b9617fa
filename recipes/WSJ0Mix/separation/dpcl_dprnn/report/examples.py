"""Examples of the report: their sound and pictures, track by track."""

import base64
import io

import numpy as np
import soundfile

from .figures import NAMES, picture
from .spectra import (
    embedding_picture,
    ratio_masks,
    shared_scale,
    stft,
    track_figure,
)

PEAK = 0.99  # of full scale, what the loudest track may reach
KINDS = ("best", "median", "worst")  # the order of examples


def example_context(example):
    """What the page shows of an example.

    Arguments
    ---------
    example : files.Example

    Returns
    -------
    dict
        `name`, `kind`, `turned_down` (dB, 0 for none), `embeddings` (a
        picture or None), and `rows`, each with a `title` and `tracks` that
        have a `label`, `audio` (data URL) and `picture`.
    """
    groups = _groups(example)
    gain = shared_gain(groups.values())
    spectra = {
        title: [stft(gain * track, example.rate) for track in tracks]
        for title, tracks in groups.items()
    }
    scale = shared_scale(s for group in spectra.values() for s in group)
    rows = [
        _row(example, title, gain * tracks, spectra, scale)
        for title, tracks in groups.items()
    ]
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


def by_kind(examples):
    """Sort examples: best, median, worst, others."""
    order = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(
        examples, key=lambda e: (order.get(e.kind, len(KINDS)), e.kind, e.name)
    )


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


def _groups(example):
    """The tracks of each row of the page, by the row's title.

    What a diverged model gives, NaN, is played as silence.
    """
    groups = {"Mixture": example.mixture[None], "References": example.sources}
    for head, estimates in example.estimates.items():
        groups[NAMES[head].capitalize()] = estimates
    return {
        title: np.nan_to_num(tracks.astype(np.float64), posinf=0, neginf=0)
        for title, tracks in groups.items()
    }


def _row(example, title, tracks, spectra, scale):
    """A row of the page: tracks [C, T] with their sound and pictures."""
    masks = [None]
    if title != "Mixture":
        mixture = spectra["Mixture"][0]
        masks = ratio_masks(spectra[title], mixture, floor=scale[0])
    row = []
    for number, track in enumerate(tracks):
        label = title
        if title != "Mixture":
            label = f"Speaker {number + 1}, {_short(title)}"
        figure = track_figure(
            spectra[title][number], scale, example.rate, masks[number]
        )
        kind = (
            "Spectrogram" if masks[number] is None else "Spectrogram and mask"
        )
        row.append(
            {
                "label": label,
                "audio": wav_url(track, example.rate),
                "picture": picture(figure, f"{kind}: {label}, {example.name}."),
            }
        )
    return {"title": title, "tracks": row}


def _short(title):
    return "reference" if title == "References" else title.lower()
