#!/usr/bin/env python3
"""What the embedding head costs: a training step of dpcl_dprnn.yaml against
the same step of dprnn.yaml, which has the same trunk.

> python benchmarks/step_cost.py [--seconds 4] [--batch 2] [--precision bf16]

The two take turns in one process, so that a machine whose speed drifts slows
both; compare the ratio.
"""

import argparse
import pathlib
import statistics
import sys
import time

import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain.dataio.batch import PaddedBatch

RECIPE = pathlib.Path(__file__).parents[1] / "recipes/WSJ0Mix/separation"
sys.path.insert(0, str(RECIPE))

import train  # noqa: E402


def make_step(system, args):
    """A function that does one training step of a system and waits for it."""
    with open(RECIPE / "hparams" / f"{system}.yaml", encoding="utf-8") as file:
        hparams = load_hyperpyyaml(file, {"data_folder": "none"})
    brain = train.Separation(
        modules=hparams["modules"],
        opt_class=hparams["optimizer"],
        hparams=hparams,
        run_opts={"device": args.device, "precision": args.precision},
    )
    brain.init_optimizers()
    brain.modules.train()
    brain.on_stage_start(train.sb.Stage.TRAIN, epoch=1)
    samples = round(args.seconds * hparams["sample_rate"])
    sources = 0.1 * torch.randn(args.batch, samples, hparams["num_spks"])
    batch = PaddedBatch(
        [
            {"id": str(i), "mixture": source.sum(dim=-1), "sources": source}
            for i, source in enumerate(sources)
        ]
    )

    def step():
        start = time.perf_counter()
        brain.step += 1
        brain.fit_batch(batch)
        if torch.device(args.device).type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return step


def main():
    """Time the steps and print medians, spread and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of audio")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32")
    args = parser.parse_args()

    if args.device == "cpu":
        train.reuse_memory()  # as train.py does
    systems = ("dprnn", "dpcl_dprnn")
    steps = {system: make_step(system, args) for system in systems}
    for step in steps.values():
        step()  # warm-up
    times = {system: [] for system in systems}
    for repeat in range(args.repeats):
        for system in systems:
            times[system].append(steps[system]())
        print(f"\rround {repeat + 1} of {args.repeats}", end="", flush=True)
    print(
        f"\ntorch {torch.__version__}, {args.device}, {args.precision}, "
        f"{torch.get_num_threads()} threads, batch {args.batch} of "
        f"{args.seconds:g} s"
    )
    for system in systems:
        seconds = times[system]
        print(
            f"{system:11s} median {statistics.median(seconds):.3f} s a step "
            f"({min(seconds):.3f} to {max(seconds):.3f})"
        )
    ratios = [b / a for a, b in zip(*times.values(), strict=True)]
    print(
        f"ratio       median {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f})"
    )


if __name__ == "__main__":
    main()
