#!/usr/bin/env python3
"""What separating an hour of sound costs, in time and memory.

    OMP_NUM_THREADS=1 python benchmarks/one_hour.py --model results/mini/model

times the streams of a recording of an hour and of recordings of ten seconds,
in turn, and runs separate.py on a file of that hour to see the most memory
that it takes.
"""

import argparse
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import soundfile
import torch
from figures import between, spread

from dpcl_dprnn.inference import SpeechSeparator
from dpcl_dprnn.inference.recordings import FileRecording
from dpcl_dprnn.training.machine import reuse_memory

RECIPE = pathlib.Path(__file__).parents[1] / "recipes/WSJ0Mix/separation"


def make_file(path, seconds, rate, rng):
    """Noise that comes and goes as speech does, written piece by piece."""
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        for _ in range(round(seconds)):
            envelope = np.repeat(rng.uniform(0, 0.1, 10), rate // 10 + 1)[:rate]
            file.write(envelope * rng.standard_normal(rate))


def seconds_a_second(separator, path):
    """Time to separate a second of a file."""
    recording = FileRecording(path)
    started = time.perf_counter()
    for _ in separator.stream(recording).blocks:
        pass
    spent = time.perf_counter() - started
    return spent / (recording.frames / recording.rate)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=int, help="in Hz; that of the model")
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    reuse_memory()
    separator = SpeechSeparator.from_hparams(
        source=args.model, run_opts={"device": "cpu"}
    )
    rate, rng = args.rate or separator.sample_rate, np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        long, short = folder / "long.wav", folder / "short.wav"
        make_file(long, 60 * args.minutes, rate, rng)
        make_file(short, 10, rate, rng)
        times = {long: [], short: []}
        seconds_a_second(separator, short)  # warm up
        for _ in range(args.runs):
            for path in (short, short, short, long, short, short, short):
                times[path].append(seconds_a_second(separator, path))
        medians = [statistics.median(values) for values in times.values()]
        print(f"{torch.get_num_threads()} threads, {args.minutes:g} minutes")
        for path, values in times.items():
            text = f"{between(spread(values))} s a second of sound"
            print(f"{path.stem}: {text}, {len(values)} runs")
        print(f"ratio: {medians[0] / medians[1]:.2f}")
        words = [sys.executable, RECIPE / "separate.py", long, "--device=cpu"]
        words += ["--model", args.model, "--output", folder / "voices"]
        started = time.perf_counter()
        subprocess.run(words, check=True, stderr=subprocess.DEVNULL)
        spent = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(f"separate.py: {spent:.1f} s, {peak / 1024:.0f} MiB at the most")


if __name__ == "__main__":
    main()
