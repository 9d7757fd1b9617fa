#!/usr/bin/env python3
"""What things cost, beside what others take for the same: training steps,
separation, losses, clustering and scoring.

> python benchmarks/bench.py [--suite training pit ...] [--threads 2]

The contenders of a comparison take turns, so that a machine whose speed drifts
slows all: compare the ratios, which are to the first one and made turn by
turn. Figures are medians, with the least and the most. Asteroid and mir_eval
take part where they are installed.
"""

import argparse
import json
import os
import pathlib
import tempfile

import growth
import suites
import threadpoolctl
import torch
import yaml
from contenders import keys_of
from figures import show, versions

OUT = pathlib.Path(__file__).parents[1] / "results" / "bench.json"
SYSTEMS = ("dprnn", "dpcl_dprnn", "dpcl_dprnn_stft", "dpcl")
MORE = ("mini", "voices")
PRECISIONS = ("fp32", "bf16")  # of our training and separation, on a CPU
LENGTHS = (1.0, 4.0, 15.0, 60.0, 300.0)  # seconds of audio
SUITES = {
    "training": suites.training,
    "inference": suites.inference,
    "pit": suites.pit,
    "dpcl": suites.dpcl,
    "kmeans": suites.kmeans,
    "scoring": suites.scoring,
    "ranks": suites.ranks,
    "growth": growth.growth,
}


def parse_command_line(argv=None):
    """The command line's settings, with `hparams` of all `--set`."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    usual = [name for name in SUITES if name != "growth"]
    others = "other hparams, such as num_layers=2; stock has the same sizes"
    add("--suite", nargs="+", choices=SUITES, default=usual)
    add("--systems", nargs="+", choices=(*SYSTEMS, *MORE), default=SYSTEMS)
    choices = (*PRECISIONS, "fp16")
    add("--precision", nargs="+", choices=choices, default=PRECISIONS)
    add("--compile", action="store_true", help="our systems, in training")
    add("--alone", action="store_true", help="train and separate by ours only")
    add("--device", default="cpu")
    add("--threads", type=int, default=torch.get_num_threads(), help="CPU's")
    add("--repeats", type=int, default=5, help="turns of each")
    add("--seconds", type=float, help="of audio, instead of each suite's own")
    add("--batch", type=int, help="mixtures, instead of each suite's own")
    add("--lengths", nargs="+", type=float, default=LENGTHS, help="in growth")
    add("--cap", type=float, default=30.0, help="seconds of a turn in growth")
    add("--set", nargs="+", metavar="KEY=VALUE", default=[], help=others)
    add("--json", type=pathlib.Path, default=OUT, help="all times and settings")
    args = parser.parse_args(argv)
    known = set.union(*map(keys_of, (*SYSTEMS, *MORE)))
    args.hparams = {}
    for word in args.set:
        key, found, value = word.partition("=")
        if not found or key not in known:
            parser.error(f"--set {word}: no hparams file has such a key")
        args.hparams[key] = yaml.safe_load(value)
    return args


def main(argv=None):
    """Run the suites, print what they give and write it down."""
    args = parse_command_line(argv)
    torch.set_num_threads(args.threads)
    threadpoolctl.threadpool_limits(args.threads)
    settings = {
        key: str(value) if isinstance(value, pathlib.Path) else value
        for key, value in vars(args).items()
    }
    record = {"versions": versions(), "settings": settings, "comparisons": []}
    print(", ".join(map("{0[0]} {0[1]}".format, record["versions"].items())))
    print(f"{args.device}, {args.threads} thread(s), {args.repeats} turns each")
    args.json.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as args.folder:
        for name in args.suite:
            title = None
            for comparison in SUITES[name](args):
                show(comparison, header=comparison["title"] != title)
                title = comparison["title"]
                record["comparisons"].append({"suite": name, **comparison})
                text = json.dumps(record, indent=1)
                args.json.write_text(text + os.linesep, encoding="utf-8")
    print(f"\nAll times: {args.json}")


if __name__ == "__main__":
    main()
