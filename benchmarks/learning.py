#!/usr/bin/env python3
"""What a change of the training is worth: learning at equal CPU time.

> OMP_NUM_THREADS=1 python benchmarks/learning.py --speech DIR --minutes 8

DIR is a folder of speakers, such as `prepare_data.py corpus` makes. Each row of
`ROWS` is a training of hparams/mini.yaml for so many minutes of one thread's
CPU time (not of the clock: a machine that does other work beside does not
count), mixed on the fly, and a test on whole mixtures of speakers it has not
heard. Rows are given by name, seeds by number; each result is kept in --out as
soon as there is one, and runs that are there are not done again.
"""

import argparse
import csv
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "WSJ0Mix" / "separation"

# What is changed of mini.yaml; a single process has the batches of its two.
PLAIN = {"batch_size": 8}
ROWS = {
    "mini.yaml": PLAIN,
    "random start": {**PLAIN, "initial_weights": "random"},
    "lr 2e-3": {**PLAIN, "lr": 0.002},
    "falling from the warm-up on": {**PLAIN, "lr_fall": 0.97},
    "SpeechBrain's start and clipping, a falling 2e-3": {
        **{**PLAIN, "initial_weights": "random", "clip_quantile": "null"},
        **{"lr": 0.002, "lr_fall": 0.97},
    },
    "hop 16 ms": {**PLAIN, "hop": 128},
    "batches of 4": {"batch_size": 4, "lr": 0.003},
    "averaged weights": {**PLAIN, "average_decay": 0.999},
    "128 units": {**PLAIN, "num_channels": 128, "hidden_size": 128},
}


def parse(argv, text=__doc__, rows=ROWS, out="learning.jsonl"):
    """The command line of this program, or of one with other rows."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--speech", required=True, help="folder of speakers")
    add("--minutes", type=float, default=8.0)
    add("--rows", nargs="+", default=list(rows), choices=rows)
    add("--seeds", nargs="+", type=int, default=[1, 2, 3])
    add("--steps", type=int, help="instead of minutes")
    add("--valid", type=int, default=50, help="mixtures")
    add("--test", type=int, default=100, help="mixtures")
    add("--speakers", type=int, default=2, help="in a mixture")
    add("--cache", help="folder for the decoded speech")
    add("--out", type=pathlib.Path, default=ROOT / "results" / out)
    args = parser.parse_args(argv)
    args.speech = pathlib.Path(args.speech).resolve()
    args.cache = args.cache and pathlib.Path(args.cache).resolve()
    args.size = f"{args.steps} steps" if args.steps else f"{args.minutes:g} min"
    return args


def train_one(words):
    """Train by this thread's CPU time, in a process of its own."""
    sys.path.insert(0, str(RECIPE))
    import torch

    import train

    torch.set_num_threads(1)
    train.Engine.clock = staticmethod(time.process_time)
    train.run(words)


def result_of(args, row, settings, seed, folder):
    """Run a training, and read what it came to."""
    length = {"max_minutes": args.minutes}
    if args.steps:
        length = {"total_steps": args.steps}
    settings = {**settings, **length, "seed": seed, "num_audio": 0}
    settings["num_spks"] = args.speakers
    hparams = settings.pop("hparams", "hparams/mini.yaml")
    sizes = f"{{train: 6000, valid: {args.valid}, test: {args.test}}}"
    words = [
        *(hparams, f"--speech_folder={args.speech}"),
        f"--dynamic_mixing={sizes}",
        *("--device=cpu", "--noprogressbar", f"--output_folder={folder}"),
        *(f"--{key}={value}" for key, value in settings.items()),
    ]
    if args.cache:
        words.append(f"--speech_cache={args.cache}")
    command = [sys.executable, str(pathlib.Path(__file__).resolve()), "--run"]
    done = subprocess.run(
        [*command, *words], cwd=RECIPE, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{row}, seed {seed}: {done.stderr[-2000:]}")
    log = (folder / "train_log.txt").read_text(encoding="utf-8")
    last = [line for line in log.splitlines() if "valid" in line][-1]
    found = {"steps": steps_of(folder)}
    for split in ("train", "valid"):
        if match := re.search(rf"{split} pit: ([^, ]+)", last):
            found[split] = -float(match[1])
    for head in ("test_results", "test_results_kmeans"):
        path = folder / f"{head}.csv"
        if path.is_file():
            with open(path, encoding="utf-8", newline="") as file:
                rows = [
                    float(each["si-snr_i"]) for each in csv.DictReader(file)
                ]
            *found[f"{head}_each"], found[head] = rows
    return found


def steps_of(folder):
    """The optimiser's steps of a run."""
    states = [
        path.read_text(encoding="utf-8")
        for path in folder.glob("save/CKPT*/brain.ckpt")
    ]
    return max(int(re.search(r"optimizer_step: (\d+)", t)[1]) for t in states)


def run_all(args, rows):
    """The results of all rows and seeds, of which those in --out are not run
    again.
    """
    args.out.parent.mkdir(parents=True, exist_ok=True)
    results = []
    if args.out.is_file():
        lines = args.out.read_text(encoding="utf-8").splitlines()
        results = [json.loads(line) for line in lines]
    for seed in args.seeds:
        for row in args.rows:
            key = {"speech": args.speech.name, "size": args.size}
            key |= {"speakers": args.speakers, "row": row, "seed": seed}
            if any(
                key.items() <= {"speakers": 2, **r}.items() for r in results
            ):
                continue
            with tempfile.TemporaryDirectory() as folder:
                found = result_of(
                    args, row, rows[row], seed, pathlib.Path(folder)
                )
            results.append({**key, **found})
            with open(args.out, "a", encoding="utf-8") as file:
                file.write(json.dumps(results[-1]) + "\n")
            shown = [
                f"{k} {v}" for k, v in results[-1].items() if "each" not in k
            ]
            print(", ".join(shown), flush=True)
    return results


def main(argv):
    args = parse(argv)
    print(table(run_all(args, ROWS), args.speech.name, args.size))


def table(results, speech, size):
    """Means, and least to most, of the seeds of each row, in dB."""
    columns = ("train", "valid", "test_results", "test_results_kmeans")
    lines = [
        f"| {speech}, {size} | seeds | train | valid | masks | k-means |",
        "|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        key = {"row": row, "speech": speech, "size": size}
        runs = [each for each in results if key.items() <= each.items()]
        cells = [str(len(runs))]
        for column in columns:
            of = [run[column] for run in runs if column in run]
            spread = (statistics.mean(of), min(of), max(of)) if of else ()
            text = "{:.2f} ({:.2f} to {:.2f})" if of else ""
            cells.append(text.format(*spread))
        if runs:
            lines.append(f"| {row} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        train_one(sys.argv[2:])
    else:
        main(sys.argv[1:])
