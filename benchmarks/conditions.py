#!/usr/bin/env python3
"""What a model gains in each condition that people record in.

    python benchmarks/conditions.py --speech READERS --noise NOISE --rooms ROOMS

mixes test voices as `dynamic_mixing` does, one condition at a time, and tells
the SI-SNR improvement of each head that separates so many speakers (mean,
standard deviation), the share of mixtures that lose, and how often the number
of speakers is found where the model counts.
"""

import argparse
import tempfile

import numpy as np
import torch
import tqdm
from ruamel.yaml import YAML
from speaker_counting import MINI

from dpcl_dprnn.evaluation.metrics import score_utterance
from dpcl_dprnn.inference import SpeechSeparator
from dpcl_dprnn.inference.loading import MODEL
from dpcl_dprnn.mixtures.live_sets import make_dynamic_sets

CONDITIONS = {
    "clean, full overlap": {},
    "half of the time": {"overlap": 0.5},
    "taking turns": {"overlap": [-0.3, 0.0]},
    "up to 10 dB apart": {"gain_db": 5.0},
    "noise, 10 dB": {"noise_probability": 1.0, "snr_db": [10.0, 10.0]},
    "rooms": {"room_probability": 1.0, "room_target_ms": 50},
    "telephone": {"telephone_probability": 1.0},
    "codec": {"codec_probability": 1.0},
}


def settings_of(condition, args):
    """`dynamic_mixing` for a condition."""
    return {
        **YAML().load(MINI)["dynamic_mixing"],
        **{"train": 1, "valid": 1, "test": args.count},
        **{"speakers": args.speakers, "gain_db": 2.5},
        **{"noise_folder": args.noise or "", "noise_probability": 0.0},
        **{"room_folder": args.rooms or "", "room_probability": 0.0},
        **CONDITIONS[condition],
    }


def score(separator, dataset, speakers):
    """SI-SNR improvements of each head [mixtures], and whether each mixture
    was counted right.
    """
    heads = separator.unmixer.heads_for(speakers)
    gains, right = {head: [] for head in heads}, []
    for index in tqdm.trange(len(dataset), leave=False):
        item = dataset[index]
        mixture = item["mixture"].numpy()
        sources = item["sources"].T.numpy()[:speakers]
        mix = item["mixture"][None]
        for head in heads:
            voices = separator.separate_batch(mix, speakers, head)[0].T.numpy()
            scores, _ = score_utterance(mixture, voices, sources)
            gains[head].append(scores["si-snr_i"])
        if separator.counts and speakers <= separator.num_spks:
            found = separator.separate_batch(mix, "auto").shape[-1]
            right.append(found == speakers)
    return {head: np.array(each) for head, each in gains.items()}, right


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default=MODEL, help="by default the one that comes along")
    add("--speech", required=True, help="folder of speakers")
    add("--noise", help="folder of noises")
    add("--rooms", help="folder of impulse responses")
    add("--speakers", type=int, default=2, help="in a mixture")
    add("--count", type=int, default=60, help="mixtures a condition")
    add("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    separator = SpeechSeparator.from_hparams(
        source=args.model, run_opts={"device": "cpu"}
    )
    heads = " / ".join(separator.unmixer.heads_for(args.speakers))
    first = f"{args.speakers} speakers | SI-SNRi, {heads}"
    print(f"| {first} | under 0 dB | counted |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as cache:
        for condition in CONDITIONS:
            settings = settings_of(condition, args)
            if any(
                settings[f"{kind}_probability"]
                and not settings[f"{kind}_folder"]
                for kind in ("noise", "room")
            ):
                print(f"| {condition} | no folder was given | | |")
                continue
            sets = make_dynamic_sets(
                *(args.speech, cache, settings),
                num_spks=max(args.speakers, separator.num_spks),
                sample_rate=separator.sample_rate,
                training_crop=separator.sample_rate,
                seed=args.seed,
            )
            gains, right = score(separator, sets["test"], args.speakers)
            cells = [
                " / ".join(
                    f"{each.mean():.2f} ({each.std(ddof=1):.2f})"
                    for each in gains.values()
                ),
                " / ".join(f"{(g < 0).mean():.0%}" for g in gains.values()),
                f"{np.mean(right):.0%}" if right else "",
            ]
            print(f"| {condition} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
