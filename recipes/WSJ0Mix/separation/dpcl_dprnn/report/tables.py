"""The tables of the report, from the scores of a test set."""

import math

import numpy as np

from ..evaluation.scoring import RESULT_FILES
from .figures import NAMES, histogram, level_figure, minus, scatter, shown
from .statistics import by_class, by_label, column, describe, failures

METRICS = {  # column: name, unit, digits
    "si-snr": ("SI-SNR", "dB", 2),
    "si-snr_i": ("SI-SNRi", "dB", 2),
    "sdr": ("SDR", "dB", 2),
    "sdr_i": ("SDRi", "dB", 2),
    "pesq": ("PESQ", "", 2),
    "stoi": ("STOI", "", 3),
}
OF_MIXTURES = ("si-snr", "sdr")
FAILURES = 50  # listed at most
# Ends of classes, in dB: of the speakers' level difference, and of a speaker's
# SI-SNR in the mixture
LEVEL_ENDS = (0, 1, 2, 3, 4, 5, 7.5, 10, math.inf)
INPUT_ENDS = (-math.inf, -10, -5, -2.5, 0, 2.5, 5, 10, math.inf)


def metric_columns(heads):
    """The scores that there are: of each its column, name, unit and digits."""
    found = {c for rows in heads.values() for row in rows.values() for c in row}
    others = {c: (c, "", 2) for c in sorted(found - set(METRICS))}
    return [
        (c, *about) for c, about in (METRICS | others).items() if c in found
    ]


def systems(heads, test_set):
    """The rows of the table of scores, as [(name, {column: Statistic})]."""
    rows = [("unprocessed mixture", mixture_scores(heads, test_set))]
    rows += [(NAMES[head], scores) for head, scores in heads.items()]
    if any("ideal_si-snr_i" in each for each in test_set.values()):
        ideal = {}
        for snt_id, row in test_set.items():  # the mixture's, and its gain
            gains = {m: row.get(f"ideal_{m}_i", math.nan) for m in OF_MIXTURES}
            ideal[snt_id] = {f"{m}_i": gain for m, gain in gains.items()}
            ideal[snt_id] |= {m: row[m] + gain for m, gain in gains.items()}
        rows.append(("ideal binary mask", ideal))
    names = [name for name, *_ in metric_columns(heads)]
    return [
        (system, {name: describe(column(scores, name)) for name in names})
        for system, scores in rows
    ]


def mixture_scores(heads, test_set):
    """Scores of the mixtures, from the improvements if need be."""
    if test_set:
        return test_set
    rows = next(iter(heads.values()))
    return {
        snt_id: {m: row[m] - row[f"{m}_i"] for m in OF_MIXTURES}
        for snt_id, row in rows.items()
    }


def difference(heads):
    """Masks less k-means on each utterance, None unless both are there."""
    if len(heads) < 2:
        return None
    masks = column(heads["masks"], "si-snr_i")
    return describe(
        masks - column(heads["kmeans"], "si-snr_i", list(heads["masks"]))
    )


def distributions(heads, test_set):
    """The figures of how SI-SNRi is distributed."""
    gains = _gains(heads)
    if not any(np.isfinite(values).any() for values in gains.values()):
        return []
    pictures = [histogram(gains)]
    levels = _by_level(heads, test_set)
    if levels:
        columns = zip(*(each for _, each in levels), strict=True)
        statistics = dict(zip(heads, columns, strict=True))
        labels = [_level(ends, "–") for ends, _ in levels]
        pictures.append(level_figure(labels, statistics))
    return pictures


def groups(heads, test_set):
    """SI-SNRi of kinds of mixtures: of each its label and `Statistics` pairs."""
    gains = _gains(heads, list(test_set))
    numbers = [
        f"{number:.0f}" if math.isfinite(number) else ""
        for number in column(test_set, "num_spks")
    ]
    genders = [facts.get("genders", "") for facts in test_set.values()]
    kinds = {
        "speakers": by_label(numbers, gains),
        "genders": by_label(genders, gains),
        "level difference": _in_db(_by_level(heads, test_set)),
    }
    return [(kind, rows) for kind, rows in kinds.items() if rows]


def _by_level(heads, test_set):
    differences = column(test_set, "level_difference")
    return by_class(differences, LEVEL_ENDS, _gains(heads, list(test_set)))


def _gains(heads, ids=None):
    """SI-SNRi of each head, of some utterances or of its own."""
    return {head: column(rows, "si-snr_i", ids) for head, rows in heads.items()}


def _level(ends, to=" to "):
    low, high = (minus(f"{end:g}") for end in ends)
    if math.isinf(ends[0]):
        return f"under {high}"
    return f"over {low}" if math.isinf(ends[1]) else f"{low}{to}{high}"


def _in_db(classes):
    return [(f"{_level(ends)} dB", statistics) for ends, statistics in classes]


def failure_context(heads, test_set, speakers):
    """Utterances that were made worse, the worst first, not all of them."""
    ids = failures(heads)
    mixtures = mixture_scores(heads, test_set)
    worst = {head: worst_speakers(speakers, head) for head in heads}
    return {
        "counts": _counts(_gains(heads)),
        "files": [RESULT_FILES[head] for head in heads],
        "worst": bool(speakers),
        "more": max(0, len(ids) - FAILURES),
        "rows": [
            {
                "id": snt_id,
                "scores": [
                    float(column(rows, "si-snr_i", [snt_id])[0])
                    for rows in heads.values()
                ],
                "worst": [each.get(snt_id) for each in worst.values()],
                "input": float(column(mixtures, "si-snr", [snt_id])[0]),
                "facts": test_set.get(snt_id, {}),
            }
            for snt_id in ids[:FAILURES]
        ],
    }


def example_scores(name, heads, test_set):
    """What is known of an utterance, as pairs of what it is and its value."""
    facts = test_set.get(name, {})
    found = [
        (f"SI-SNRi, {NAMES[head]}", column(rows, "si-snr_i", [name])[0])
        for head, rows in heads.items()
    ]
    mixtures = mixture_scores(heads, test_set)
    found += [
        ("ideal binary mask", facts.get("ideal_si-snr_i", math.nan)),
        ("SI-SNR of the mixture", column(mixtures, "si-snr", [name])[0]),
        ("level difference", facts.get("level_difference", math.nan)),
    ]
    known = [(k, f"{shown(v)} dB") for k, v in found if math.isfinite(v)]
    if facts.get("genders"):
        known.append(("genders", facts["genders"]))
    return known


def speaker_context(speakers, heads):
    """All that the page shows of the speakers, rows of test_speakers.csv.

    A `picture`, `groups` ([(kind, [(label, Statistics), ...]), ...]) and
    `counts` (`{head: (made worse, defined)}`); None where nobody has a score.
    """
    rows = dict(enumerate(speakers))
    gains = {head: column(rows, f"{head}_si-snr_i") for head in heads}
    if not any(np.isfinite(values).any() for values in gains.values()):
        return None
    inputs = column(rows, "si-snr")
    kinds = {
        "input": _in_db(by_class(inputs, INPUT_ENDS, gains)),
        "speaker": by_label([row.get("group", "") for row in speakers], gains),
    }
    return {
        "picture": scatter(inputs, gains),
        "groups": [(kind, rows) for kind, rows in kinds.items() if rows],
        "counts": _counts(gains),
    }


def _counts(gains):
    """Those that were made worse and those that are defined, by head."""
    return {
        head: (int((values < 0).sum()), int(np.isfinite(values).sum()))
        for head, values in gains.items()
    }


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
        gain = row.get(f"{head}_si-snr_i", math.nan)
        # In this order: a NaN is passed over.
        worst[row["snt_id"]] = min(worst.get(row["snt_id"], math.inf), gain)
    return worst
