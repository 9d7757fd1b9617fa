"""Scores of a test set: collected utterance by utterance, written once."""

import csv
import io
import json
import math
import pathlib

import numpy as np

from .audio import write_text, write_wav
from .metrics import score_utterance
from .training import gather

RESULT_FILES = {
    "masks": "test_results.csv",
    "kmeans": "test_results_kmeans.csv",
}


class Evaluation:
    """Scores of both heads on a test set, and a few separated files.

    In distributed runs every process adds its own utterances; `collect`
    brings them together and one process writes.

    Arguments
    ---------
    output_folder : str or Path
        Where results are written.
    sample_rate : int
        Sampling rate in Hz.
    perceptual : bool
        Whether to compute PESQ and STOI too, as far as they are installed.
    audio_ids : collection of str
        Utterances whose separated voices are written to
        `output_folder`/separated.
    """

    def __init__(
        self, output_folder, sample_rate, perceptual=False, audio_ids=()
    ):
        self.folder = pathlib.Path(output_folder)
        self.sample_rate = sample_rate
        self.perceptual = perceptual
        self.audio_ids = frozenset(audio_ids)
        self.scores = {}  # head -> utterance -> scores

    def add(self, head, snt_id, mixture, estimates, sources):
        """Score one utterance.

        Arguments
        ---------
        head : str
            "masks" or "kmeans".
        snt_id : str
            Name of the utterance.
        mixture : numpy.ndarray, [T]
        estimates : numpy.ndarray, [C, T]
        sources : numpy.ndarray, [C, T]
        """
        scores, permutation = score_utterance(
            mixture,
            estimates,
            sources,
            rate=self.sample_rate if self.perceptual else None,
        )
        self.scores.setdefault(head, {})[snt_id] = scores
        if snt_id in self.audio_ids:
            self._write_voices(head, snt_id, mixture, estimates[permutation])

    def _write_voices(self, head, snt_id, mixture, estimates):
        folder = self.folder / "separated"
        write_wav(folder / f"{snt_id}_mix.wav", mixture, self.sample_rate)
        for number, voice in enumerate(rescale(mixture, estimates), start=1):
            path = folder / f"{snt_id}_{head}_s{number}.wav"
            write_wav(path, voice, self.sample_rate)

    def collect(self):
        """Bring the scores of all processes together, sorted by utterance.

        Every process has to call this. Processes may hold the same
        utterance; it counts once.
        """
        merged = {}
        for scores in gather(self.scores):
            for head, utterances in scores.items():
                merged.setdefault(head, {}).update(utterances)
        self.scores = {
            head: dict(sorted(merged[head].items()))
            for head in RESULT_FILES
            if head in merged
        }

    def write(self, **about):
        """Write a CSV for each head, and summary.json.

        Arguments
        ---------
        **about
            Facts about the run, to go into summary.json as they are.

        Returns
        -------
        dict
            What summary.json holds.
        """
        for head, utterances in self.scores.items():
            write_text(self.folder / RESULT_FILES[head], _as_csv(utterances))
        summary = dict(_finite(about), heads=self.summary())
        text = json.dumps(summary, indent=2, allow_nan=False)
        write_text(self.folder / "summary.json", text + "\n")
        return summary

    def summary(self):
        """Mean, standard deviation and count of each score of each head.

        NaN scores, of silent or very short sources, do not count; what has
        no defined score is None.
        """
        return {
            head: {
                name: _statistics([row[name] for row in utterances.values()])
                for name in next(iter(utterances.values()))
            }
            for head, utterances in self.scores.items()
        }


def describe(summary):
    """The scores of a summary as lines of text for people."""
    lines = [f"Test scores, mean (s.d.), of epoch {summary['epoch']}:"]
    for head, scores in summary["heads"].items():
        cells = [
            f"{name} {value['mean']:.2f} ({value['std']:.2f})"
            for name, value in scores.items()
            if value["mean"] is not None
        ]
        lines.append(f"  {head:6s}  {'  '.join(cells)}")
    return "\n".join(lines)


def rescale(mixture, estimates):
    """Bring estimates of arbitrary scale to that of the mixture.

    Each gets the gain with which their sum fits the mixture best (least
    squares); then, if need be, all are turned down alike so that none clips.

    Arguments
    ---------
    mixture : numpy.ndarray, [T]
    estimates : numpy.ndarray, [C, T]

    Returns
    -------
    numpy.ndarray, [C, T]

    Example
    -------
    >>> voices = np.array([[0.5, 0.0, 0.0], [0.0, -0.25, 0.0]])
    >>> np.round(rescale(voices.sum(axis=0), 10 * voices), 6)
    array([[ 0.5 ,  0.  ,  0.  ],
           [ 0.  , -0.25,  0.  ]])
    """
    gains = np.linalg.lstsq(estimates.T, mixture, rcond=None)[0]
    estimates = gains[:, None] * estimates
    return estimates / max(1.0, np.abs(estimates).max(initial=0.0) / 0.99)


def _as_csv(utterances):
    """A row for each utterance and a last one with the averages."""
    names = list(next(iter(utterances.values())))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["snt_id", *names])
    for snt_id, row in utterances.items():
        writer.writerow([snt_id, *(f"{row[name]:.4f}" for name in names)])
    means = [
        _statistics([row[name] for row in utterances.values()])["mean"]
        for name in names
    ]
    cells = ["nan" if mean is None else f"{mean:.4f}" for mean in means]
    writer.writerow(["avg", *cells])
    return buffer.getvalue()


def _finite(value):
    """The same facts with None for NaN and infinity, which JSON lacks."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _statistics(values):
    defined = np.array([v for v in values if math.isfinite(v)])
    if not len(defined):
        return {"mean": None, "std": None, "count": 0}
    return {
        "mean": float(defined.mean()),
        "std": float(defined.std()),
        "count": len(defined),
    }
