#!/usr/bin/env python3
"""Writes report.html from what a tested experiment left in its folder.

    python make_report.py results/dpcl_dprnn/1234

The page holds its sounds and pictures and opens without a network.
"""

import argparse
import logging
import sys

from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.report.page import write_report


def main(argv=None):
    """Write a report in each of some folders.

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
        prog="make_report.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "output_folder", nargs="+", help="output folder of a tested experiment"
    )
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        for folder in args.output_folder:
            logging.info("The report is in %s", write_report(folder))
    except UserError as error:
        print(f"make_report.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("make_report.py: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
