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

train.py itself lists a data set in CSV files (`prepare` in the YAML).
"""

import argparse
import logging
import sys

from dpcl_dprnn.common.program import not_negative, run_program

LEVEL = "levels of folders above those of the speakers, such as dialects: 1"
MODE = "cut to the shortest speaker or pad to the longest"


def add_corpus(subcommand):
    """`prepare_data.py corpus`."""
    text = "make a speech corpus of eSpeak NG voices"
    add = subcommand("corpus", run_corpus, text)
    add("--out", required=True, help="folder to write")
    add("--speakers", type=int, default=600, help="voices for training")
    add("--hours", type=float, default=4.5, help="speech of all splits")
    add("--seed", type=int, default=1234, help="random seed")


def run_corpus(out, **options):
    """Synthesise the corpus."""
    from dpcl_dprnn.speech.corpus import build_corpus

    build_corpus(out, **options)
    logging.info("The speech is in %s", out)


def add_mix(subcommand):
    """`prepare_data.py mix`."""
    text = "mix speech in the layout of wsj0-mix"
    add = subcommand("mix", run_mix, text)
    add(
        "--speech",
        required=True,
        help="folder with a folder for each speaker, "
        "or with train, valid and test that have them",
    )
    add("--out", required=True, help="folder to write <n>speakers in")
    add("--n_spks", type=int, default=2, help="speakers in a mixture")
    add("--rate", type=int, default=8000, help="sampling rate to write, in Hz")
    add("--mode", choices=("min", "max"), default="min", help=MODE)
    add("--tr", type=int, default=3000, help="mixtures for training")
    add("--cv", type=int, default=200, help="mixtures for validation")
    add("--tt", type=int, default=200, help="mixtures for testing")
    add("--seed", type=int, default=1234, help="random seed")
    add("--speaker_level", type=not_negative, default=0, help=LEVEL)


def run_mix(speech, out, tr, cv, tt, **options):
    """Write the mixtures."""
    from dpcl_dprnn.mixtures.sets import mix_corpus

    counts = {"tr": tr, "cv": cv, "tt": tt}
    report_mixtures(*mix_corpus(speech, out, counts=counts, **options))


def report_mixtures(folder, made):
    """Say where the mixtures are, and whether they were there before."""
    if not made:
        logging.info("All of it is there already, made just so: kept.")
    logging.info("The mixtures are in %s: --data_folder=%s", folder, folder)


def add_wsj0(subcommand):
    """`prepare_data.py wsj0`."""
    text = "make wsj0-mix from WSJ0 and the official lists"
    add = subcommand("wsj0", run_wsj0, text)
    add(
        "--wsj0",
        required=True,
        help="WSJ0 as the LDC ships it: discs with .wv1 files, in any nesting",
    )
    add(
        "--lists",
        required=True,
        help="folder with mix_<n>_spk_{tr,cv,tt}.txt, of MERL's "
        "create-speaker-mixtures.zip",
    )
    add("--out", required=True, help="folder to write <n>speakers in")
    add(
        "--levels",
        help="folder with MERL's active levels, activlev_si_tr_s.txt and so "
        "on; otherwise they are measured after ITU-T P.56",
    )
    add("--n_spks", type=int, default=2, help="speakers in a mixture")
    text = "sampling rates to write, in Hz"
    add("--rate", type=int, nargs="+", default=[8000], help=text)
    modes, splits = ["min", "max"], ["tr", "cv", "tt"]
    add("--mode", choices=modes, nargs="+", default=["min"], help=MODE)
    add(
        "--splits",
        choices=splits,
        nargs="+",
        default=splits,
        help="which lists to make mixtures of",
    )
    add("--jobs", type=int, help="processes; one for each core by default")


def run_wsj0(wsj0, lists, out, rate, mode, **options):
    """Write the mixtures."""
    from dpcl_dprnn.mixtures.sets import mix_wsj0

    options = {"rates": rate, "modes": mode, **options}
    report_mixtures(*mix_wsj0(wsj0, lists, out, **options))


def add_check(subcommand):
    """`prepare_data.py check`."""
    text = "say what is in a folder of data and what is wrong with it"
    add = subcommand("check", run_check, text)
    add("--data", required=True, help="mixtures, a folder of speakers, or WSJ0")
    add(
        "--quick",
        action="store_true",
        help="go by all names, but read a sample of the files only",
    )
    add(
        "--levels",
        help="folder with MERL's activlev_*.txt, to compare WSJ0 with",
    )
    add("--speaker_level", type=not_negative, default=0, help=LEVEL)
    add("--problems", help="file to write all problems to, one on each line")


def run_check(data, **options):
    """Print what was found; the exit status is 1 if there are problems."""
    from dpcl_dprnn.doctor.check import check

    return 0 if check(data, **options) else 1


def main(argv=None):
    """Run a subcommand; return the exit status.

    Arguments
    ---------
    argv : list, optional
        The command line; that of the process by default.
    """
    parser = argparse.ArgumentParser(
        prog="prepare_data.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def subcommand(name, run, text):
        """What adds options to a new subcommand."""
        formatter = argparse.ArgumentDefaultsHelpFormatter
        added = subparsers.add_parser(
            name, help=text, formatter_class=formatter
        )
        added.set_defaults(run=run)
        return added.add_argument

    for add in (add_corpus, add_mix, add_wsj0, add_check):
        add(subcommand)
    options = vars(parser.parse_args(argv))
    run = options.pop("run")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_program("prepare_data.py", lambda: run(**options))


if __name__ == "__main__":
    sys.exit(main())
