#!/usr/bin/env python3
"""Does a model know how well it separates? What it expects, beside what is.

    python benchmarks/expected_improvement.py --speech SPEECH

Lines are fitted to mixtures of the validation speakers, as after training, and
tried on mixtures of the test speakers. Conditions are set by --mixing, with
keys of `dynamic_mixing`.
"""

import argparse
import tempfile

import numpy as np
import torch
import tqdm
from ruamel.yaml import YAML
from sklearn.metrics import roc_auc_score
from speaker_counting import MINI

from dpcl_dprnn.apps.player import HARDLY
from dpcl_dprnn.inference import SpeechSeparator
from dpcl_dprnn.inference.loading import MODEL
from dpcl_dprnn.mixtures.live_sets import make_dynamic_sets
from dpcl_dprnn.model.losses import pairwise_si_snr, pit_si_snr_loss
from dpcl_dprnn.model.targets import power_of
from dpcl_dprnn.unmixing.expectation import fit_line


def decidedness(encoded):
    """Mean of the squared shares of voices in a bin, by power, of [C, F, L]."""
    power = power_of(encoded)
    total = power.sum(dim=0)
    shares = power / total.clamp_min(1e-12)
    return float((shares.square().sum(dim=0) * total).sum() / total.sum())


def listen(unmixer, dataset):
    """Improvements and what may tell them: {head: {name: list of float}}."""
    found = {head: {} for head in unmixer.heads}
    for index in tqdm.trange(len(dataset)):
        item = dataset[index]
        mixture, sources = item["mixture"], item["sources"].T
        (separated,) = unmixer.separator.separate_each([mixture])
        before, _ = pit_si_snr_loss(
            mixture.expand(1, *sources.shape), sources[None]
        )
        unmixed = {
            head: unmixer.unmix(mixture, separated, len(sources), head)
            for head in found
        }
        voices = [each.voices[None] for each in unmixed.values()]
        agreement = pairwise_si_snr(voices[0], voices[-1])[0].amax(dim=0)
        for head, (waveforms, _, sums) in unmixed.items():
            after, _ = pit_si_snr_loss(waveforms[None], sources[None])
            likeness = unmixer.expectation(head, sums).likeness
            encoded = unmixer.separator.grid_encoder(waveforms)
            values = {
                "improvement": float(before - after),
                "likeness of the embeddings": likeness,
                "agreement of the heads": float(agreement.mean()),
                "decidedness of its masks": decidedness(encoded),
            }
            for name, value in values.items():
                found[head].setdefault(name, []).append(value)
    return found


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", default=MODEL, help="of two heads")
    add("--speech", required=True, help="folder of speakers")
    add("--speakers", type=int, default=2)
    add("--valid", type=int, default=80, help="mixtures to fit to")
    add("--test", type=int, default=200, help="mixtures")
    add("--mixing", default="{}", help="such as '{snr_db: [8, 40]}'")
    add("--cache", help="folder for the decoded speech")
    add("--seed", type=int, default=1, help="of the mixtures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    separator = SpeechSeparator.from_hparams(
        source=args.model, run_opts={"device": "cpu"}
    )
    settings = {
        **YAML().load(MINI)["dynamic_mixing"],
        **{"train": 1, "valid": args.valid, "test": args.test},
        **{"speakers": args.speakers, "overlap": 1.0},
        **YAML(typ="safe").load(args.mixing),
    }
    with tempfile.TemporaryDirectory() as cache:
        sets = make_dynamic_sets(
            *(args.speech, args.cache or cache, settings),
            num_spks=separator.num_spks,
            sample_rate=separator.sample_rate,
            training_crop=separator.sample_rate,
            seed=args.seed,
        )
        known, new = (
            listen(separator.unmixer, sets[s]) for s in ("valid", "test")
        )
    both = [each["improvement"] for each in new.values()]
    print(f"The better head of each mixture: {np.max(both, axis=0).mean():.2f}")
    for head, values in new.items():
        truth = np.array(values.pop("improvement"))
        little = truth < HARDLY
        usual = np.median(known[head]["improvement"])
        print(
            f"{head}: SI-SNRi {truth.mean():.2f} dB, {little.mean():.0%} under "
            f"{HARDLY:g} dB; error of the median {abs(truth - usual).mean():.2f}"
        )
        for name, told in values.items():
            # What rises with the improvement is turned, as `fit_line` has it.
            sign = 1 if name == "likeness of the embeddings" else -1
            fitted = sign * np.array(known[head][name])
            pairs = zip(fitted, known[head]["improvement"], strict=True)
            line = fit_line(list(pairs))
            if not line:
                print(f"  {name}: does not tell")
                continue
            expected = np.polyval(line, sign * np.array(told))
            print(
                f"  {name}: correlation "
                f"{np.corrcoef(expected, truth)[0, 1]:.2f}, error "
                f"{abs(expected - truth).mean():.2f} dB, area under the curve "
                f"{roc_auc_score(little, -expected):.2f}; line {line}"
            )


if __name__ == "__main__":
    main()
