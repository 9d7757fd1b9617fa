#!/usr/bin/env python3
"""Who speaks when, in made conversations: how much of it is told wrong.

    python benchmarks/diarisation.py --model results/mini/model --speech data/voices

makes conversations in which each speaker says one utterance after the other
with pauses between them, and tells the diarisation error rate (missed speech,
false alarms and confusions, over all speech, overlaps included, no collar; by
pyannote.metrics) of the separated voices' turns, and of what a detector of
voices gives of the mixture: speech of one speaker. The truth is what the same
detector finds in each speaker alone.
"""

import argparse
import json

import numpy as np
import torch
import tqdm
from long_recordings import make_recording
from pyannote.core import Annotation, Segment
from pyannote.metrics.diarization import DiarizationErrorRate

from dpcl_dprnn.inference import SpeechSeparator
from dpcl_dprnn.inference.recordings import SignalRecording
from dpcl_dprnn.speech.speakers import find_speakers
from dpcl_dprnn.unmixing.turns import Activity

PARTS = ("missed detection", "false alarm", "confusion")


def annotation(*groups, rate):
    """The turns of voices, each group [C, T] detected by itself."""
    found, first = Annotation(), 0
    for voices in groups:
        activity = Activity(rate)
        list(activity.watched([voices]))
        for number, turn in enumerate(activity.turns()):
            segment = Segment(turn.start, turn.end)
            found[segment, (first, number)] = first + turn.voice
        first += len(voices)
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--speech", required=True)
    parser.add_argument("--split", default="tt", choices=("tr", "cv", "tt"))
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--speakers", type=int, default=2)
    parser.add_argument("--pause", type=float, default=8.0, help="at most, s")
    parser.add_argument("--n_spks", choices=("auto",), help="else the truth")
    parser.add_argument("--seed", type=int, default=1234)
    args = parser.parse_args()
    torch.set_num_threads(1)
    separator = SpeechSeparator.from_hparams(
        source=args.model, run_opts={"device": "cpu"}
    )
    rate = separator.sample_rate
    speakers = find_speakers(args.speech, args.speakers, args.seed)[args.split]
    metrics = {
        name: DiarizationErrorRate()
        for name in ("separated", "detector on the mixture")
    }
    for number in tqdm.trange(args.count):
        rng = np.random.default_rng([args.seed, number])
        sources = make_recording(args, speakers, rate, rng)
        mixture = sources.sum(axis=0)
        truth = annotation(*sources[:, None], rate=rate)
        voices = separator.separate_recording(
            SignalRecording(mixture, rate),
            args.n_spks or args.speakers,
        ).waveforms
        metrics["separated"](truth, annotation(voices, rate=rate))
        metrics["detector on the mixture"](
            truth, annotation(mixture[None], rate=rate)
        )
    results = {}
    for name, metric in metrics.items():
        total = metric["total"]
        results[name] = {"error rate": round(100 * abs(metric), 1)} | {
            part: round(100 * metric[part] / total, 1) for part in PARTS
        }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
