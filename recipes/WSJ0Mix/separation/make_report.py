#!/usr/bin/env python3
"""Writes report.html from what a tested experiment left in its folder.

    python make_report.py results/dpcl_dprnn/1234

The page holds its sounds and pictures and opens without a network.
"""

import argparse
import logging
import sys

from dpcl_dprnn.common.program import run_program
from dpcl_dprnn.report.page import write_report


def main(argv=None):
    """Write a report in each of some folders; return the exit status.

    Arguments
    ---------
    argv : list, optional
        The command line; that of the process by default.
    """
    parser = argparse.ArgumentParser(
        prog="make_report.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "output_folder", nargs="+", help="output folder of a tested experiment"
    )
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return run_program("make_report.py", write_reports, args.output_folder)


def write_reports(folders):
    """Write them, and say where they are."""
    for folder in folders:
        logging.info("The report is in %s", write_report(folder))


if __name__ == "__main__":
    sys.exit(main())
