"""The tables of the report, from the scores of a test set."""

import math

import numpy as np

from ..evaluation.scoring import RESULT_FILES
from .figures import histogram, level_figure
from .speakers import worst_speakers
from .statistics import (
    column,
    describe,
    failures,
    gender_group,
    group,
    level_group,
    paired_difference,
    speaker_group,
)
from .style import NAMES, shown

METRICS = {  # column: name, unit, digits
    "si-snr": ("SI-SNR", "dB", 2),
    "si-snr_i": ("SI-SNRi", "dB", 2),
    "sdr": ("SDR", "dB", 2),
    "sdr_i": ("SDRi", "dB", 2),
    "pesq": ("PESQ", "", 2),
    "stoi": ("STOI", "", 3),
}
FAILURES = 50  # listed at most


def metric_columns(heads):
    """The scores that there are, as [(column, name, unit, digits), ...]."""
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
        rows.append(("ideal binary mask", ideal_scores(test_set)))
    return [
        (
            name,
            {c: describe(column(scores, c)) for c, *_ in metric_columns(heads)},
        )
        for name, scores in rows
    ]


def mixture_scores(heads, test_set):
    """Scores of the mixtures, from the improvements if need be."""
    if test_set:
        return test_set
    rows = next(iter(heads.values()))
    return {
        snt_id: {m: row[m] - row[f"{m}_i"] for m in ("si-snr", "sdr")}
        for snt_id, row in rows.items()
    }


def ideal_scores(test_set):
    """Scores of the ideal binary mask: the mixture's and its improvement."""
    scores = {}
    for snt_id, row in test_set.items():
        scores[snt_id] = {}
        for metric in ("si-snr", "sdr"):
            gain = row.get(f"ideal_{metric}_i", math.nan)
            scores[snt_id][f"{metric}_i"] = gain
            scores[snt_id][metric] = row[metric] + gain
    return scores


def several(rows, test_set):
    """The rows of utterances that are not known to have one speaker only."""
    return {
        snt_id: row
        for snt_id, row in rows.items()
        if test_set.get(snt_id, {}).get("num_spks") != 1
    }


def difference(heads):
    """Masks less k-means on each utterance, None unless both are there."""
    if not {"masks", "kmeans"} <= set(heads):
        return None
    return paired_difference(heads["masks"], heads["kmeans"], "si-snr_i")


def distributions(heads, test_set):
    """The figures of how SI-SNRi is distributed."""
    scores = {head: column(rows, "si-snr_i") for head, rows in heads.items()}
    pictures = [histogram(scores)]
    if pictures[0] is not None:
        levels = _by_kind(heads, test_set, level_group)
        if levels:
            columns = zip(*(each for _, each in levels), strict=True)
            statistics = dict(zip(heads, columns, strict=True))
            labels = [_level(ends, "–") for ends, _ in levels]
            pictures.append(level_figure(labels, statistics))
    return [each for each in pictures if each is not None]


def groups(heads, test_set):
    """SI-SNRi of kinds of mixtures: [(kind, [(label, Statistics), ...])]."""
    kinds = {
        "speakers": (speaker_group, str),
        "genders": (gender_group, str),
        "level difference": (level_group, lambda ends: _level(ends) + " dB"),
    }
    found = []
    for kind, (function, name) in kinds.items():
        rows = _by_kind(heads, test_set, function)
        if rows:
            found.append((kind, [(name(label), each) for label, each in rows]))
    return found


def _by_kind(heads, test_set, function):
    """Groups with a score, as [(label, [Statistic of each head])]."""
    rows = [
        (
            label,
            [describe(column(r, "si-snr_i", ids)) for r in heads.values()],
        )
        for label, ids in group(test_set, function).items()
    ]
    return [row for row in rows if any(s.count for s in row[1])]


def _level(ends, to=" to "):
    low, high = ends
    return f"over {low:g}" if math.isinf(high) else f"{low:g}{to}{high:g}"


def failure_context(heads, test_set, speakers=()):
    """Utterances that were made worse, the worst first, not all of them."""
    ids = failures(heads)
    counts = {}
    for head, rows in heads.items():
        values = column(rows, "si-snr_i")
        defined = np.isfinite(values).sum()
        counts[head] = int((values < 0).sum()), int(defined)
    mixtures = mixture_scores(heads, test_set)
    worst = {head: worst_speakers(speakers, head) for head in heads}
    return {
        "counts": counts,
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
    """What is known of an utterance, as [(what, value), ...]."""
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
