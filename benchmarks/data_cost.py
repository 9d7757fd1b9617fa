#!/usr/bin/env python3
"""What data cost: mixtures written a second, against a plain loop of the same
operations, and the share of a training step that waits for its batch.

> python benchmarks/data_cost.py [--mixtures 2000] [--steps 40] [--speech DIR]

Without --speech, utterances of modulated noise stand in for speech. The two
ways of mixing take turns, so that a machine whose speed drifts slows both;
compare the ratio.
"""

import argparse
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

import numpy as np
import scipy.signal
import soundfile

RECIPE = pathlib.Path(__file__).parents[1] / "recipes/WSJ0Mix/separation"
sys.path.insert(0, str(RECIPE))

from dpcl_dprnn.mixtures.lists import mixture_name, read_list  # noqa: E402
from dpcl_dprnn.mixtures.sets import mix_corpus  # noqa: E402
from dpcl_dprnn.speech.levels import active_level  # noqa: E402

RATE = 8000
NO_DATA = {"data_folder": ""}


def make_speech(folder, speakers=40, utterances=20, rate=16000):
    """Utterances as long as those of WSJ0, in three splits."""
    rng = np.random.default_rng(0)
    for split in ("train", "valid", "test"):
        for speaker in range(speakers if split == "train" else 2):
            place = folder / split / f"{split}{speaker:03}"
            place.mkdir(parents=True)
            for number in range(utterances if split == "train" else 1):
                length = int(rng.uniform(3, 11) * rate)
                syllables = np.sin(np.arange(length) * 4 * np.pi / rate) ** 2
                samples = 0.1 * syllables * rng.standard_normal(length)
                path = place / f"{split}{speaker:03}_{number:03}.wav"
                soundfile.write(path, samples, rate)
    return folder


def plain_loop(speech, mixtures, out):
    """The rule of wsj0-mix, an utterance and a mixture after the other."""
    for kind in ("mix", "s1", "s2"):
        (out / kind).mkdir(parents=True)
    for mixture in mixtures:
        scaled = []
        for path, gain in mixture:
            samples, rate = soundfile.read(speech / path)
            common = np.gcd(rate, RATE)
            samples = scipy.signal.resample_poly(
                samples, RATE // common, rate // common
            )
            level = active_level(samples, RATE)
            scaled.append(samples / level**0.5 * 10 ** (gain / 20))
        length = min(map(len, scaled))
        scaled = np.stack([samples[:length] for samples in scaled])
        sounds = [scaled.sum(axis=0), *scaled]
        peak = max(np.abs(sound).max() for sound in sounds)
        for kind, sound in zip(("mix", "s1", "s2"), sounds, strict=True):
            samples = np.round(sound / peak * 0.9 * 32768).astype(np.int16)
            path = out / kind / f"{mixture_name(mixture)}.wav"
            soundfile.write(path, samples, RATE)


def time_mixing(speech, count, repeats, folder):
    """Mixtures a second, by the project and by the plain loop."""
    counts = {"tr": count, "cv": 1, "tt": 1}
    speeds = {"plain loop": [], "prepare_data.py mix": []}
    for repeat in range(repeats):
        out = folder / f"mixed{repeat}"
        start = time.perf_counter()
        data, _ = mix_corpus(speech, out, counts=counts)
        seconds = time.perf_counter() - start
        speeds["prepare_data.py mix"].append((count + 2) / seconds)
        mixtures = read_list(data / "mix_2_spk_tr.txt")
        start = time.perf_counter()
        plain_loop(speech, mixtures, folder / f"plain{repeat}")
        seconds = time.perf_counter() - start
        speeds["plain loop"].append(count / seconds)
        name = f"{mixture_name(mixtures[0])}.wav"
        ours = data / "wav8k/min/tr/mix" / name
        theirs = folder / f"plain{repeat}" / "mix" / name
        assert ours.read_bytes() == theirs.read_bytes()
    return speeds


def print_mixing(speeds):
    """Medians with their spread, and the ratio."""
    from figures import between, spread

    for name, each in speeds.items():
        print(f"{name:20s} {between(spread(each))} mixtures a second")
    plain, ours = speeds.values()
    ratios = [b / a for a, b in zip(plain, ours, strict=True)]
    print(f"{'ratio':20s} {between(spread(ratios))}")


def time_loading(speech, folder, seconds=4, count=400):
    """Print how many mixtures a second are made on the fly."""
    import contenders
    from torch.utils.data import DataLoader

    words = {"speech_folder": str(speech), "training_crop": seconds}
    hparams = contenders.load("mini", folder / "loading", NO_DATA | words)
    dataset = contenders.train.make_datasets(hparams)["train"]
    for workers in (0, 2):
        loader = DataLoader(
            *(dataset, 4),
            num_workers=workers,
            collate_fn=contenders.PaddedBatch,
        )
        batches = iter(loader)
        next(batches)  # after warming up
        start = time.perf_counter()
        for _ in range(count // 4):
            next(batches)
        speed = 4 * (count // 4) / (time.perf_counter() - start)
        print(
            f"on the fly, {seconds} s, {workers} workers: {speed:.0f} mixtures "
            "a second"
        )


def time_waiting(system, words, steps, folder):
    """Seconds of each step, and of waiting for its batch."""
    import contenders

    hparams = contenders.load(system, folder / system, NO_DATA | words)
    items = contenders.train.make_datasets(hparams)["train"]
    brain = contenders.ready_brain(hparams, "cpu", hparams.get("precision"))
    loader = contenders.train.make_training_loader(
        items, [1.0] * len(items), hparams["train_dataloader_opts"]
    )
    batches = iter(loader)
    waits, totals = [], []
    for _ in range(steps + 2):
        start = time.perf_counter()
        batch = next(batches)
        waits.append(time.perf_counter() - start)
        brain.step += 1
        brain.fit_batch(batch)
        totals.append(time.perf_counter() - start)
    return waits[2:], totals[2:]  # after warming up


def main():
    """Time both and print."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--mixtures", type=int, default=2000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40, help="of mini.yaml")
    parser.add_argument("--speech", type=pathlib.Path, help="with 3 splits")
    args = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        speech = args.speech or make_speech(folder / "speech")
        print(f"{os.cpu_count()} cores, NumPy {np.__version__}")
        print_mixing(time_mixing(speech, args.mixtures, args.repeats, folder))

        import torch

        print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
        time_loading(speech, folder)
        sources = {
            "files": {"data_folder": str(folder / "mixed0" / "2speakers")},
            "on the fly": {"speech_folder": str(speech)},
        }
        for system, steps in (("mini", args.steps), ("dprnn", 2)):
            for source, words in sources.items():
                waits, totals = time_waiting(system, words, steps, folder)
                print(
                    f"{system + '.yaml':11s} {source:10s} a step takes "
                    f"{statistics.median(totals):.3f} s, of which it waits "
                    f"for data {sum(waits) / sum(totals):.2%}"
                )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
