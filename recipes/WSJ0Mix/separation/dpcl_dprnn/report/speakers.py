"""What the report says of each speaker, rather than of each utterance."""

import math

import numpy as np

from .figures import scatter
from .statistics import describe
from .style import minus

# Ends of classes of a speaker's SI-SNR in the mixture, in dB
INPUT_ENDS = (-10, -5, -2.5, 0, 2.5, 5, 10)


def speaker_context(speakers, heads):
    """All that the page shows of the speakers.

    Arguments
    ---------
    speakers : list of dict
        Of `csv_files.read_speakers`.
    heads : sequence of str

    Returns
    -------
    dict or None
        `picture`, `groups` ([(kind, [(label, Statistics), ...]), ...]) and
        `counts` (`{head: (made worse, defined)}`); None where no speaker has
        a score.
    """
    gains = {head: speaker_column(speakers, head) for head in heads}
    if not any(np.isfinite(values).any() for values in gains.values()):
        return None
    inputs = np.array([row["si-snr"] for row in speakers])
    return {
        "picture": scatter(inputs, gains),
        "groups": [
            (kind, rows)
            for kind, rows in (
                ("input", _by_input(inputs, gains)),
                ("speaker", _by_group(speakers, gains)),
            )
            if rows
        ],
        "counts": {
            head: (int((values < 0).sum()), int(np.isfinite(values).sum()))
            for head, values in gains.items()
        },
    }


def speaker_column(speakers, head):
    """The improvements of a head, NaN where undefined, as an array."""
    name = f"{head}_si-snr_i"
    return np.array([row.get(name, math.nan) for row in speakers])


def worst_speakers(speakers, head):
    """The improvement of each utterance's worst speaker.

    Example
    -------
    >>> worst_speakers([{"snt_id": "a", "masks_si-snr_i": 3.0},
    ...                 {"snt_id": "a", "masks_si-snr_i": -1.0}], "masks")
    {'a': -1.0}
    """
    worst = {}
    for row in speakers:
        value = row.get(f"{head}_si-snr_i", math.nan)
        if math.isfinite(value):
            known = worst.get(row["snt_id"], math.inf)
            worst[row["snt_id"]] = min(value, known)
    return worst


def input_labels():
    """The names of the classes, one more than ends.

    Example
    -------
    >>> input_labels()[:2], input_labels()[-1]
    (['under −10 dB', '−10 to −5 dB'], 'over 10 dB')
    """
    ends = [minus(f"{end:g}") for end in INPUT_ENDS]
    between = zip(ends[:-1], ends[1:], strict=True)
    return [
        f"under {ends[0]} dB",
        *(f"{low} to {high} dB" for low, high in between),
        f"over {ends[-1]} dB",
    ]


def _by_input(inputs, gains):
    known = np.isfinite(inputs)
    classes = np.searchsorted(INPUT_ENDS, inputs, side="right")
    return _with_scores(
        (label, known & (classes == number), gains)
        for number, label in enumerate(input_labels())
    )


def _by_group(speakers, gains):
    groups = np.array([row.get("group") or "" for row in speakers])
    return _with_scores(
        (str(label), groups == label, gains)
        for label in np.unique(groups)
        if label
    )


def _with_scores(choices):
    """Statistics of each choice of speakers, if there are any."""
    rows = [
        (label, [describe(values[chosen]) for values in gains.values()])
        for label, chosen, gains in choices
    ]
    return [row for row in rows if any(s.count for s in row[1])]
