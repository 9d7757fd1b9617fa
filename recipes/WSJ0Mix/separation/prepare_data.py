#!/usr/bin/env python3
"""Makes data for train.py.

Speech from eSpeak NG voices, then mixtures of two of them at a time:

    python prepare_data.py corpus --out corpus
    python prepare_data.py mix --speech corpus --out data
    python train.py hparams/mini.yaml --data_folder=data/2speakers

Mixtures from recordings of your own, a folder for each speaker:

    python prepare_data.py mix --speech DIR --out data --n_spks 3

train.py itself calls `prepare_manifests`, which lists a data set in CSV
files.
"""

import argparse
import logging
import sys

from dpcl_dprnn.errors import UserError
from dpcl_dprnn.manifests import prepare_manifests

__all__ = ["main", "prepare_manifests"]


def add_corpus(subparsers):
    """`prepare_data.py corpus`."""
    parser = subparsers.add_parser(
        "corpus",
        help="make a speech corpus of eSpeak NG voices",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument(
        "--speakers", type=int, default=600, help="voices for training"
    )
    parser.add_argument(
        "--hours", type=float, default=4.5, help="speech of all splits"
    )
    parser.add_argument("--seed", type=int, default=1234, help="random seed")
    parser.set_defaults(run=run_corpus)


def run_corpus(args):
    """Synthesise the corpus."""
    from dpcl_dprnn.speech_corpus import build_corpus

    build_corpus(
        args.out, speakers=args.speakers, hours=args.hours, seed=args.seed
    )
    logging.info("The speech is in %s", args.out)


def add_mix(subparsers):
    """`prepare_data.py mix`."""
    parser = subparsers.add_parser(
        "mix",
        help="mix speech in the layout of wsj0-mix",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--speech",
        required=True,
        help="folder with a folder for each speaker, "
        "or with train, valid and test that have them",
    )
    parser.add_argument(
        "--out", required=True, help="folder to write <n>speakers in"
    )
    parser.add_argument(
        "--n_spks", type=int, default=2, help="speakers in a mixture"
    )
    parser.add_argument(
        "--rate", type=int, default=8000, help="sampling rate to write, in Hz"
    )
    parser.add_argument(
        "--mode",
        choices=("min", "max"),
        default="min",
        help="cut to the shortest speaker or pad to the longest",
    )
    parser.add_argument(
        "--tr", type=int, default=3000, help="mixtures for training"
    )
    parser.add_argument(
        "--cv", type=int, default=200, help="mixtures for validation"
    )
    parser.add_argument(
        "--tt", type=int, default=200, help="mixtures for testing"
    )
    parser.add_argument("--seed", type=int, default=1234, help="random seed")
    parser.set_defaults(run=run_mix)


def run_mix(args):
    """Write the mixtures."""
    from dpcl_dprnn.mixing import mix_corpus

    folder = mix_corpus(
        args.speech,
        args.out,
        n_spks=args.n_spks,
        rate=args.rate,
        mode=args.mode,
        counts={"tr": args.tr, "cv": args.cv, "tt": args.tt},
        seed=args.seed,
    )
    logging.info("The mixtures are in %s: --data_folder=%s", folder, folder)


def main(argv=None):
    """Run a subcommand.

    Arguments
    ---------
    argv : list, optional
        The command line; that of the process by default.

    Returns
    -------
    int
        Exit status: 0, 1 after an error of the user, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(
        prog="prepare_data.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_corpus, add_mix):
        add(subparsers)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        args.run(args)
    except UserError as error:
        print(f"prepare_data.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("prepare_data.py: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
