#!/usr/bin/env python3
"""What `train.py --dry_run` tells, beside what a step allocates, and the
multiply-adds of SpeechBrain's separator of the same sizes.

> python benchmarks/costs.py

A step's allocations are those that PyTorch's profiler sees, on a CPU.
"""

import argparse
import tempfile

import torch
from contenders import load, ready_brain
from others import Stock
from speechbrain.dataio.batch import PaddedBatch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from dpcl_dprnn.training.machine import OPERATIONS, count_costs

SIZES = (  # system, mixtures, seconds of each
    ("mini", 2, 2.0),
    ("mini", 8, 2.0),
    ("voices", 8, 2.0),
    ("dpcl", 4, 4.0),
    ("dprnn", 1, 2.0),
)


def make_brain(system, folder, **hparams):
    """The recipe's Brain on the CPU; batches are mixed no more."""
    hparams = load(system, folder, hparams)
    hparams["train_mixing"] = None
    brain = ready_brain(hparams, "cpu", "fp32")
    brain.train_sampler = None
    return brain


def most_allocated(profiled):
    """The most bytes at a time of what was allocated under a profiler."""
    events = profiled.profiler.kineto_results.events()
    changes = [each for each in events if each.name() == "[memory]"]
    now = most = 0
    for change in sorted(changes, key=lambda each: each.start_ns()):
        now += change.nbytes()
        most = max(most, now)
    return most


def allocated(brain, batch, samples):
    """The most bytes within a step, all of it, and those that are there before
    and after, of a Brain that has not trained.
    """
    sources = (samples, brain.hparams.num_spks)
    items = [
        {
            "id": "",
            "mixture": torch.zeros(samples),
            "sources": torch.zeros(sources),
        }
    ] * batch
    brain.step = 2  # after the first, in which shares of gradients are told
    brain.fit_batch(PaddedBatch(items))
    with profile(
        activities=[ProfilerActivity.CPU], profile_memory=True
    ) as profiled:
        brain.step = 3
        brain.fit_batch(PaddedBatch(items))
    most = most_allocated(profiled)
    kept = [p for p in brain.modules.parameters() if p.requires_grad]
    for state in brain.optimizer.state.values():
        kept += state.values()
    lasting = sum(tensor.nbytes for tensor in kept)
    return lasting + most, lasting


def multiply_adds(system, folder):
    """Of SpeechBrain's separator of a system's sizes, for a second."""
    hparams = load(system, folder, {})
    mixture = torch.zeros(1, 4 * hparams["sample_rate"])
    counter = FlopCounterMode(display=False, custom_mapping=OPERATIONS)
    with torch.no_grad(), counter:
        Stock(hparams).eval()(mixture)
    return counter.get_total_flops() / 2 / 4


def main(argv=None):
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        print("| system | mixtures | told | allocated | ratio |")
        print("|---|---|---|---|---|")
        for system, batch, seconds in SIZES:
            samples = round(8000 * seconds)
            measured, _ = allocated(make_brain(system, folder), batch, samples)
            brain = make_brain(system, folder)
            told = count_costs(brain, batch, samples, seconds).step
            print(
                f"| `{system}.yaml` | {batch} x {seconds} s | {told / 1e6:.0f} MB"
                f" | {measured / 1e6:.0f} MB | {told / measured:.3f} |",
                flush=True,
            )
        stock = multiply_adds("dprnn", folder) / 1e9
        print(f"\nSpeechBrain's DPRNN: {stock:.2f} G multiply-adds a second")


if __name__ == "__main__":
    main()
