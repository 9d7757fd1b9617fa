#!/usr/bin/env python3
"""Long mixtures with pauses: separated in windows, and whole.

    python benchmarks/long_recordings.py --model results/mini/model --speech data/voices

makes mixtures of a minute, in which each speaker says one utterance after the
other with pauses between them, and tells the SI-SNR improvement of windows and
of the whole, and how often voices change places: pieces of 5 s in which another
assignment of voices to speakers than that of the recording would be better by
3 dB or more.
"""

import argparse
import itertools
import json
import pathlib

import numpy as np
import torch
import tqdm
from figures import spread

from dpcl_dprnn.evaluation.metrics import assign
from dpcl_dprnn.inference import separator as inference
from dpcl_dprnn.inference.recordings import SignalRecording
from dpcl_dprnn.model.losses import pairwise_si_snr
from dpcl_dprnn.sound.audio import read_audio, resample
from dpcl_dprnn.speech.speakers import find_speakers

PIECE = 5.0  # seconds in which voices are compared
DECISIVE = 3.0  # dB by which another assignment has to be better
SILENT = 1e-3  # of a speaker's mean power: no speech in a piece
LEVEL = 0.05  # root mean square of speech


def make_recording(args, speakers, rate, rng):
    """Speakers [C, T] who speak with pauses, each an utterance at a time."""
    shape = args.speakers, round(args.seconds * rate)
    sources, names = np.zeros(shape, np.float32), sorted(speakers)
    folder, pause = pathlib.Path(args.speech), args.pause
    for row in sources:
        name = names.pop(rng.integers(len(names)))
        utterances = sorted(speakers[name])
        position = round(rng.uniform(0, pause) * rate)
        level = LEVEL * 10 ** (rng.uniform(-2.5, 2.5) / 20)
        while position < len(row):
            path = utterances[rng.integers(len(utterances))]
            speech, own_rate = read_audio(folder / path)
            speech = resample(speech, own_rate, rate)[: len(row) - position]
            speech = speech * (level / max(speech.std(), 1e-6))
            row[position : position + len(speech)] = speech
            position += len(speech) + round(rng.uniform(0, pause) * rate)
    return sources


def si_snr(estimates, sources):
    """SI-SNR of estimate i against source j, [C, C], in dB."""
    pair = [
        torch.from_numpy(np.ascontiguousarray(x))[None]
        for x in (estimates, sources)
    ]
    return pairwise_si_snr(*pair)[0].numpy()


def improvement(voices, sources):
    """Mean SI-SNR improvement over the mixture, and the assignment."""
    order = assign(voices, sources)
    mixtures = np.broadcast_to(sources.sum(axis=0), sources.shape)
    gains = si_snr(voices[order], sources) - si_snr(mixtures, sources)
    return float(np.diagonal(gains).mean()), order


def swapped_pieces(voices, sources, rate):
    """Pieces in which another assignment is decisively better, and all."""
    size, swaps, pieces = round(PIECE * rate), 0, 0
    silent = SILENT * np.square(sources).mean(axis=1)
    for begin in range(0, sources.shape[1] - size + 1, size):
        there = sources[:, begin : begin + size]
        spoken = np.square(there).mean(axis=1) > silent
        if spoken.sum() < 2:
            continue
        pieces += 1
        scores = si_snr(voices[:, begin : begin + size], there)[:, spoken]
        straight = scores[np.flatnonzero(spoken), np.arange(spoken.sum())]
        others = itertools.permutations(range(len(voices)), int(spoken.sum()))
        best = max(
            scores[list(order), np.arange(len(order))].sum() for order in others
        )
        swaps += best - straight.sum() > DECISIVE * spoken.sum()
    return swaps, pieces


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", required=True)
    add("--speech", required=True)
    add("--split", default="tt", choices=("tr", "cv", "tt"))
    add("--count", type=int, default=50)
    add("--seconds", type=float, default=60.0)
    add("--speakers", type=int, default=2)
    add("--pause", type=float, default=4.0, help="at most, s")
    add("--n_spks", default=None)
    add("--head")
    add("--seed", type=int, default=1234)
    add("--window", type=float, default=inference.WINDOW)
    add("--overlap", type=float, default=inference.OVERLAP)
    args = parser.parse_args()
    torch.set_num_threads(1)
    separator = inference.SpeechSeparator.from_hparams(
        source=args.model, run_opts={"device": "cpu"}
    )
    inference.OVERLAP = args.overlap
    rate = separator.sample_rate
    speakers = find_speakers(args.speech, args.speakers, args.seed)[args.split]
    n_spks = args.n_spks if args.n_spks == "auto" else args.speakers
    scores = {"windows": [], "whole": []}
    swaps = {name: np.zeros(2, int) for name in scores}
    for number in tqdm.trange(args.count):
        rng = np.random.default_rng([args.seed, number])
        sources = make_recording(args, speakers, rate, rng)
        recording = SignalRecording(sources.sum(axis=0), rate)
        for name in scores:
            inference.WINDOW = args.window if name == "windows" else np.inf
            voices = separator.separate_recording(
                recording, n_spks, args.head
            ).waveforms
            missing = args.speakers - len(voices)
            voices = np.pad(voices, ((0, max(0, missing)), (0, 0)))
            value, order = improvement(voices[: args.speakers], sources)
            scores[name].append(value)
            swaps[name] += swapped_pieces(voices[order], sources, rate)
    results = {}
    for name, values in scores.items():
        swapped, pieces = map(int, swaps[name])
        results[name] = {"si-snr_i": np.mean(values), "std": np.std(values)}
        results[name] |= {"swapped": swapped, "pieces": pieces}
    difference = np.subtract(scores["windows"], scores["whole"])
    results["windows - whole"] = spread(difference)
    for each in results.values():
        each.update({key: round(float(each[key]), 2) for key in each})
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
