"""Scores of a test set: collected utterance by utterance, written once."""

import collections
import contextlib
import csv
import io
import json
import math
import pathlib

import numpy as np

from ..common.distributed import gather
from ..common.files import write_text
from ..common.parallel import call_now, processes
from ..sound.audio import write_wav
from .metrics import assign, score_all, si_snr_of
from .speakers import audible, groups_of, ideal_voices, level_difference

RESULT_FILES = {
    "masks": "test_results.csv",
    "kmeans": "test_results_kmeans.csv",
}
TEST_SET = "test_set.csv"
SPEAKERS = "test_speakers.csv"
SCORED = ("sdr", "si-snr", "ideal_sdr_i", "ideal_si-snr_i")  # of the mixture
WAITING = 4  # utterances for each process that scores
PEAK = 0.99  # of full scale, what the loudest voice may reach


class Evaluation:
    """Scores of all heads on a test set, and a few separated files.

    In distributed runs every process adds its own utterances; `collect`
    brings them together and one process writes.

    Arguments
    ---------
    unmixer : unmixer.Unmixer
        Makes voices of what the separator gives.
    output_folder : str or Path
        Where results are written.
    sample_rate : int
        Sampling rate in Hz.
    perceptual : bool
        Whether to compute PESQ and STOI too, as far as they are installed.
    audio_ids : collection of str
        Utterances whose separated voices are written to
        `output_folder`/separated.
    groups : dict of str to str, optional
        What is known of speakers, see `speakers.speaker_groups`.
    heads : sequence of str, optional
        Those to score, all by default.
    """

    def __init__(
        self,
        unmixer,
        output_folder,
        sample_rate,
        perceptual=False,
        audio_ids=(),
        groups=None,
        heads=None,
    ):
        self.unmixer = unmixer
        self.folder = pathlib.Path(output_folder)
        self.sample_rate = sample_rate
        self.perceptual = perceptual
        self.audio_ids = frozenset(audio_ids)
        self.groups = groups or {}
        self.heads = [
            head
            for head in unmixer.separator.heads
            if heads is None or head in heads
        ]
        self.scores = {}  # head -> utterance -> scores
        self.facts = {}  # utterance -> what is known of it
        self.speakers = {}  # utterance -> what is known of each speaker
        self.waiting = collections.deque()  # utterances that are being scored
        self.submit, self.most = call_now, 0

    @contextlib.contextmanager
    def scoring(self, jobs):
        """Score in so many other processes, beside what this one does in the
        block; with 0 this one scores.
        """
        with processes(jobs) as submit:
            self.submit, self.most = submit, WAITING * jobs
            yield
            self._keep_scores(0)
        self.submit, self.most = call_now, 0

    def _keep_scores(self, most):
        """Wait until at most so many utterances are being scored."""
        while len(self.waiting) > most:
            snt_id, separated, future = self.waiting.popleft()
            scores, best = future.result()
            if not separated:  # a single speaker has no score
                for each in (best, *scores.values()):
                    each.update(dict.fromkeys(each, math.nan))
            for head, each in scores.items():
                self.scores.setdefault(head, {})[snt_id] = each
            for name in ("sdr", "si-snr"):
                gain = best[f"{name}_i"]
                self.facts[snt_id][name] = best[name] - gain
                self.facts[snt_id][f"ideal_{name}_i"] = gain

    def add(self, snt_id, mixture, sources, separated):
        """Score one utterance: `mixture` [T] and `sources` [C, T], tensors, and
        the `separator.Separated` of a batch of one.

        It is separated into as many voices as there are: silent sources do
        not count.
        """
        sources = audible(sources.cpu())
        voices = self.voices(mixture, sources.numpy(), separated)
        counted = ("", "")
        countable = len(sources) <= self.unmixer.num_spks
        if self.unmixer.speaker_counting and countable:
            counted = self.unmixer.count(mixture, separated)
        mixture = mixture.cpu()
        ideal = ideal_voices(mixture, sources, self.sample_rate).numpy()
        mixture, sources = mixture.numpy(), sources.numpy()
        if snt_id in self.audio_ids:
            for head, estimates in voices.items():
                self._write_voices(head, snt_id, mixture, estimates)
        groups = groups_of(snt_id, self.groups)
        if len(sources) > 1:
            self.speakers[snt_id] = self._each_speaker(
                groups, mixture, sources, voices
            )
        self.facts[snt_id] = {
            "seconds": len(mixture) / self.sample_rate,
            "num_spks": len(sources),
            "level_difference": level_difference(sources),
            **dict.fromkeys(SCORED),
            "genders": "-".join(sorted(groups)),
            "counted": counted[0],
            "confidence": counted[1],
        }
        rate = self.sample_rate if self.perceptual else None
        future = self.submit(score_all, mixture, sources, voices, ideal, rate)
        self.waiting.append((snt_id, len(sources) > 1, future))
        self._keep_scores(self.most)

    def _each_speaker(self, groups, mixture, sources, voices):
        """What is known of each speaker of an utterance."""
        if len(groups) != len(sources):
            groups = [""] * len(sources)
        inputs = si_snr_of(np.broadcast_to(mixture, sources.shape), sources)
        columns = {
            "speaker": range(1, len(sources) + 1),
            "group": groups,
            "si-snr": inputs.tolist(),
        }
        for head, estimates in voices.items():
            gains = si_snr_of(estimates, sources) - inputs
            columns[f"{head}_si-snr_i"] = gains.tolist()
        rows = zip(*columns.values(), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def voices(self, mixture, sources, separated):
        """The voices of each head, in the order of the sources [C, T]."""
        voices = {}
        for head in self.heads:
            unmixed = self.unmixer.unmix(mixture, separated, len(sources), head)
            estimates = unmixed.voices.cpu().numpy()
            order = assign(estimates, sources)
            voices[head] = estimates[order]
        return voices

    def _write_voices(self, head, snt_id, mixture, estimates):
        """Write voices at the mixture's level; all softer if one would clip."""
        folder = self.folder / "separated"
        write_wav(folder / f"{snt_id}_mix.wav", mixture, self.sample_rate)
        peak = max(1.0, np.abs(estimates).max() / PEAK)
        for number, voice in enumerate(estimates / peak, start=1):
            path = folder / f"{snt_id}_{head}_s{number}.wav"
            write_wav(path, voice, self.sample_rate)

    def collect(self):
        """Bring the scores of all processes, which have to call this, together,
        sorted by utterance; one that several hold counts once.
        """
        held = (self.scores, self.facts, self.speakers)
        scores, facts, speakers = zip(*gather(held), strict=True)
        self.facts, self.speakers = _merged(facts), _merged(speakers)
        self.scores = {
            head: _merged(each.get(head, {}) for each in scores)
            for head in RESULT_FILES
            if any(head in each for each in scores)
        }

    def write(self, **about):
        """Write a CSV for each head, and summary.json, which is returned.

        It holds what is given `about` the run, in which the items of lists
        become one text, and mean, standard deviation and count of each score
        of each head.
        """
        heads = {}
        for head, utterances in self.scores.items():
            heads[head] = {
                name: _statistics([row[name] for row in utterances.values()])
                for name in next(iter(utterances.values()))
            }
            means = {name: each["mean"] for name, each in heads[head].items()}
            text = _as_csv([*utterances.items(), ("avg", means)])
            write_text(self.folder / RESULT_FILES[head], text)
        write_text(self.folder / TEST_SET, _as_csv(list(self.facts.items())))
        each = [(n, row) for n, rows in self.speakers.items() for row in rows]
        write_text(self.folder / SPEAKERS, _as_csv(each))
        summary = _for_json(dict(about, heads=heads))
        counted = [
            row["counted"] == row["num_spks"]
            for row in self.facts.values()
            if row["counted"] != ""
        ]
        if counted:
            right = float(np.mean(counted))
            summary["counting"] = {"right": right, "count": len(counted)}
        text = json.dumps(summary, indent=2, allow_nan=False)
        write_text(self.folder / "summary.json", text + "\n")
        return summary


def in_words(summary):
    """The scores of a summary as lines of text for people."""
    epoch = f", of epoch {summary['epoch']}" if "epoch" in summary else ""
    lines = [f"Test scores, mean (s.d.){epoch}:"]
    for head, scores in summary["heads"].items():
        cells = [
            f"{name} {value['mean']:.2f} ({value['std']:.2f})"
            for name, value in scores.items()
            if value["mean"] is not None
        ]
        lines.append(f"  {head:6s}  {'  '.join(cells)}")
    if "counting" in summary:
        right, count = summary["counting"].values()
        lines.append(f"Speakers counted right: {right:.1%} of {count}.")
    return "\n".join(lines)


def _merged(dicts):
    """Several as one, sorted."""
    return dict(sorted(collections.ChainMap(*dicts).items()))


def _as_csv(rows):
    """A line for each of (utterance, columns)."""
    names = list(rows[0][1]) if rows else []
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["snt_id", *names])
    for snt_id, row in rows:
        cells = (row[name] for name in names)
        writer.writerow(
            [
                snt_id,
                *(f"{c:.4f}" if isinstance(c, float) else c for c in cells),
            ]
        )
    return buffer.getvalue()


def _for_json(value):
    """The same facts with None for NaN and infinity, and lists as text."""
    if isinstance(value, dict):
        return {key: _for_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _statistics(values):
    """Mean, standard deviation and count of those that are defined."""
    defined = np.array([v for v in values if math.isfinite(v)])
    if not len(defined):
        return {"mean": math.nan, "std": math.nan, "count": 0}
    return {
        "mean": float(defined.mean()),
        "std": float(defined.std()),
        "count": len(defined),
    }
