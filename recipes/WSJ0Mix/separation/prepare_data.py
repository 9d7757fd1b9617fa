#!/usr/bin/env python3
"""Makes data for train.py.

Speech from eSpeak NG voices, then mixtures of two of them at a time:

    python prepare_data.py corpus --out corpus
    python prepare_data.py mix --speech corpus --out data
    python train.py hparams/mini.yaml --data_folder=data/2speakers

Mixtures from recordings of your own, a folder for each speaker:

    python prepare_data.py mix --speech DIR --out data --n_spks 3

wsj0-mix from WSJ0 and the official lists, and a check of any data:

    python prepare_data.py wsj0 --wsj0 DIR --lists DIR --out data
    python prepare_data.py check --data data/2speakers

train.py itself calls `prepare_manifests`, which lists a data set in CSV
files.
"""

import argparse
import logging
import signal
import sys

from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.datasets.manifests import prepare_manifests

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
    from dpcl_dprnn.speech.corpus import build_corpus

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
    from dpcl_dprnn.mixtures.sets import mix_corpus

    folder, made = mix_corpus(
        args.speech,
        args.out,
        n_spks=args.n_spks,
        rate=args.rate,
        mode=args.mode,
        counts={"tr": args.tr, "cv": args.cv, "tt": args.tt},
        seed=args.seed,
    )
    report_mixtures(folder, made)


def report_mixtures(folder, made):
    """Say where the mixtures are, and whether they were there before."""
    if not made:
        logging.info("All of it is there already, made just so: kept.")
    logging.info("The mixtures are in %s: --data_folder=%s", folder, folder)


def add_wsj0(subparsers):
    """`prepare_data.py wsj0`."""
    parser = subparsers.add_parser(
        "wsj0",
        help="make wsj0-mix from WSJ0 and the official lists",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--wsj0",
        required=True,
        help="WSJ0 as the LDC ships it: discs with .wv1 files, in any nesting",
    )
    parser.add_argument(
        "--lists",
        required=True,
        help="folder with mix_<n>_spk_{tr,cv,tt}.txt, of MERL's "
        "create-speaker-mixtures.zip",
    )
    parser.add_argument(
        "--out", required=True, help="folder to write <n>speakers in"
    )
    parser.add_argument(
        "--levels",
        help="folder with MERL's active levels, activlev_si_tr_s.txt and so "
        "on; otherwise they are measured after ITU-T P.56",
    )
    parser.add_argument(
        "--n_spks", type=int, default=2, help="speakers in a mixture"
    )
    parser.add_argument(
        "--rate",
        type=int,
        nargs="+",
        default=[8000],
        help="sampling rates to write, in Hz",
    )
    parser.add_argument(
        "--mode",
        choices=("min", "max"),
        nargs="+",
        default=["min"],
        help="cut to the shortest speaker or pad to the longest",
    )
    parser.add_argument(
        "--splits",
        choices=("tr", "cv", "tt"),
        nargs="+",
        default=["tr", "cv", "tt"],
        help="which lists to make mixtures of",
    )
    parser.add_argument(
        "--jobs", type=int, help="processes; one for each core by default"
    )
    parser.set_defaults(run=run_wsj0)


def run_wsj0(args):
    """Write the mixtures."""
    from dpcl_dprnn.mixtures.sets import mix_wsj0

    folder, made = mix_wsj0(
        args.wsj0,
        args.lists,
        args.out,
        levels=args.levels,
        n_spks=args.n_spks,
        rates=args.rate,
        modes=args.mode,
        splits=args.splits,
        jobs=args.jobs,
    )
    report_mixtures(folder, made)


def add_check(subparsers):
    """`prepare_data.py check`."""
    parser = subparsers.add_parser(
        "check",
        help="say what is in a folder of data and what is wrong with it",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--data",
        required=True,
        help="mixtures, a folder of speakers, or WSJ0",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="go by all names, but read a sample of the files only",
    )
    parser.add_argument(
        "--levels",
        help="folder with MERL's activlev_*.txt, to compare WSJ0 with",
    )
    parser.add_argument(
        "--problems", help="file to write all problems to, one on each line"
    )
    parser.set_defaults(run=run_check)


def run_check(args):
    """Print what was found; the exit status is 1 if there are problems."""
    from dpcl_dprnn.doctor.check import check

    options = {"levels": args.levels, "problems": args.problems}
    return 0 if check(args.data, quick=args.quick, **options) else 1


def main(argv=None):
    """Run a subcommand.

    Arguments
    ---------
    argv : list, optional
        The command line; that of the process by default.

    Returns
    -------
    int
        Exit status: 0, 1 after an error of the user or if `check` finds
        problems, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(
        prog="prepare_data.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (add_corpus, add_mix, add_wsj0, add_check):
        add(subparsers)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # An exception, so that what is half done is tidied away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        status = args.run(args)
    except UserError as error:
        print(f"prepare_data.py: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = [str(error.filename)] if error.filename is not None else []
        why = ": ".join([*where, error.strerror or str(error)])
        print(f"prepare_data.py: error: {why}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("prepare_data.py: interrupted", file=sys.stderr)
        return 130
    return status or 0


if __name__ == "__main__":
    sys.exit(main())
