#!/usr/bin/env python3
"""What a GPU is worth, in a quarter of an hour: tests, figures and a training.

> python benchmarks/card.py --speech DIR [DIR ...]

One part after the other, each within its share of the time, in a process of its
own: one that fails or takes too long does not end the others. What comes of
them is in --out: what each said (tests.txt, ...), the figures (*.json), the
run of the training, with its model and its scores; done.json, which tells how
each ended, is written anew after every one. `--small` tries all of it in three
minutes, on a CPU too (`--device cpu`).
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "WSJ0Mix" / "separation"
TESTS = "model unmixing/test_gains.py unmixing/test_unmixer.py".split()
TESTS += (
    "training/test_on_pretended_cuda.py training/test_checkpoints.py".split()
)
SMALL = "num_layers=1 num_channels=8 hidden_size=8".split()
FEW = "num_filters=16"  # of systems that have them
TRAINED = ("--precision=bf16", "--batch_size=64", "--lr=0.004")
EXACT = {"SB_DISABLE_QUIRKS": "allow_tf32"}  # SpeechBrain's fp32 is TF32
SHARES = {"tests": 0.15, "figures": 0.3}  # of the minutes; the training's rest


def parse(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add, out = parser.add_argument, ROOT / "results" / "card"
    add("--speech", nargs="+", required=True, help="folders of speakers")
    add("--device", default="cuda")
    add("--minutes", type=float, help="for all of it (13; small: 3)")
    add("--parts", nargs="+", default=["tests", "figures", "training"])
    add("--small", action="store_true", help="tiny models, few figures")
    add("--out", type=pathlib.Path, default=out)
    args, args.more = parser.parse_known_args(argv)  # of train.py
    args.minutes = args.minutes or (3.0 if args.small else 13.0)
    args.speech = [str(pathlib.Path(each).resolve()) for each in args.speech]
    args.out = args.out.resolve()
    if (args.out / "run").exists():
        parser.error(f"--out {args.out} has a run already. Choose another.")
    return args


def figures(args):
    """The commands of bench.py, with what is set around them, by the names of
    what they write: steps of all systems beside SpeechBrain's, in TF32, their
    separation in fp32, and what fp32, compilation and larger batches make of a
    step.
    """
    precisions = ["fp32", "bf16"] + ["fp16"] * (args.device != "cpu")
    common = ["--device", args.device, "--precision"]
    steps = ["--suite", "training", *common]
    separation = ["--suite", "inference", *common]
    sizes = ["--batch", "4", "--repeats", "5"]
    if args.small:
        sizes = ["--batch", "2", "--seconds", "0.25", "--repeats", "1"]
        sizes += ["--threads", "1", "--set", *SMALL, FEW]
        return {
            "steps": ([*steps, *precisions, *sizes], {}),
            "separation": ([*separation, "fp32", *sizes], EXACT),
        }
    one = [*sizes, "--systems", "dprnn"]
    commands = {
        "steps": ([*steps, *precisions, *sizes], {}),
        "separation": ([*separation, *precisions, *sizes], EXACT),
        "steps_exact": ([*steps, "fp32", *one], EXACT),
        "steps_compiled": ([*steps, "fp32", "bf16", *one, "--compile"], {}),
    }
    for batch in (16, 64, 128):
        sizes = ["--batch", str(batch), "--seconds", "2", "--repeats", "5"]
        words = [*steps, "bf16", *sizes, "--systems", "voices", "--alone"]
        commands[f"voices_{batch}"] = (words, {})
    return commands


def training(args, seconds):
    """The command of train.py with so many seconds of training, beside which
    it takes others for its start, the test and the report.
    """
    words = ["--noprogressbar", f"--device={args.device}"]
    words += [f"--max_minutes={seconds / 60:.3f}"]
    words += [f"--speech_folder={json.dumps(args.speech)}"]
    words += [f"--output_folder={args.out / 'run'}"]
    if args.small:
        sizes = {"train": 200, "valid": 2, "test": 2, "overlap": 1.0}
        words += ["--batch_size=2", "--training_crop=0.5", "--precision=fp32"]
        words += [f"--{size}" for size in SMALL]
    else:
        sizes = {"train": 8192, "valid": 60, "test": 200, "overlap": 1.0}
        words += [*TRAINED, "--train_dataloader_opts={num_workers: 8}"]
        words += ["--ckpt_interval_minutes=1"]
    mixing = ", ".join(f"{key}: {value}" for key, value in sizes.items())
    words += [f"--dynamic_mixing={{{mixing}}}", *args.more]
    return [sys.executable, "train.py", "hparams/voices.yaml", *words]


class Parts:
    """Runs commands one after the other, and keeps what came of them."""

    def __init__(self, args):
        self.args = args
        self.end = time.monotonic() + 60 * args.minutes
        self.done = {}

    def left(self):
        """Seconds of all the time."""
        return self.end - time.monotonic()

    def run(self, name, command, seconds, cwd=ROOT, env=None):
        """Run a command, for some seconds at most; tell how it ended."""
        print(f"{name}: {' '.join(command)}", flush=True)
        began, status = time.monotonic(), "too long"
        with open(self.args.out / f"{name}.txt", "w", encoding="utf-8") as file:
            try:
                status = subprocess.run(
                    command,
                    cwd=cwd,
                    env={**os.environ, **(env or {})},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    timeout=max(1.0, min(seconds, self.left())),
                ).returncode
            except subprocess.TimeoutExpired:
                pass
        took = round(time.monotonic() - began, 1)
        self.done[name] = {"status": status, "seconds": took}
        text = json.dumps(self.done, indent=1)
        (self.args.out / "done.json").write_text(text, encoding="utf-8")
        print(f"{name}: {status}, {took} s", flush=True)


def main(argv=None):
    """Run the parts; the exit status is 1 if one of them failed."""
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    parts, whole = Parts(args), 60 * args.minutes
    python = [sys.executable, "-W", "ignore"]
    if "tests" in args.parts:
        chosen = ["model/test_losses.py"] if args.small else TESTS
        tests = [f"tests/{each}" for each in chosen]
        options = ["-q", f"--device={args.device}", "-p", "no:cacheprovider"]
        command = [*python, "-m", "pytest", *options, *tests]
        seconds = SHARES["tests"] * whole
        parts.run("tests", command, seconds, env=EXACT)
    if "figures" in args.parts:
        last = time.monotonic() + SHARES["figures"] * whole
        for name, (words, env) in figures(args).items():
            path = args.out / f"{name}.json"
            command = [
                *python,
                "benchmarks/bench.py",
                *words,
                "--json",
                str(path),
            ]
            parts.run(name, command, last - time.monotonic(), env=env)
    if "training" in args.parts:
        seconds = parts.left() - (60 if args.small else 120)
        parts.run("training", training(args, seconds), parts.left(), RECIPE)
    return any(part["status"] != 0 for part in parts.done.values())


if __name__ == "__main__":
    sys.exit(main())
