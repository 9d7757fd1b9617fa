#!/usr/bin/env python3
"""Separate recordings in which several people talk at once.

    python separate.py meeting.wav

writes meeting_s1.wav, meeting_s2.wav and so on into separated/, at the rate,
level and length of the recording, and meeting.html to look at and listen to.
What is too high for the model's sampling rate is lost. Recordings may be files
of any kind (those of phones and videos too), rate, channels and length,
folders of such files, - for standard input, or example for one that comes
along; --output - writes the voices as channels of one file to standard output.
"""

import argparse
import json
import pathlib
import sys
import tempfile

from dpcl_dprnn.common.program import flush_output, positive, run_program

EXTRAS = ("rttm", "page")  # what there may be beside the voices


def make_parser():
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="separate.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="sound files, folders, or -")
    add(
        "--model",
        help="model folder, or user/name on the Hub; by default the model of "
        "real voices that comes along",
    )
    add(
        "--output",
        help="folder to write, or -; by default separated/, and then a page too",
    )
    add(
        "--n_spks",
        type=number_or("auto"),
        help="voices to find, or auto: the default of a model that counts; "
        "others find as many as they were trained for. More are found by "
        "k-means",
    )
    add(
        "--head",
        choices=("masks", "kmeans"),
        help="by default what separated the validation mixtures better",
    )
    add(
        "--channel",
        type=number_or("mean", "each"),
        default="mean",
        help="which channel of several, from 0 on, mean (default), or each by "
        "itself; voices are then named by the channel",
    )
    add(
        "--sample_rate",
        type=int,
        help="of the voices, in Hz; by default that of the recording",
    )
    add(
        "--format",
        choices=("wav", "flac"),
        default="wav",
        help="wav: 32-bit floating point (default); flac: 24 bits",
    )
    add("--device", help="such as cpu, cuda or cuda:1")
    add(
        "--precision",
        choices=("fp32", "bf16"),
        default="fp32",
        help="bf16 is faster where the processor computes it natively",
    )
    add(
        "--batch",
        type=lambda text: positive(text, int),
        help="short recordings to separate at a time; by default 8 on a GPU, "
        "1 on a CPU, where more gain nothing",
    )
    add(
        "--json",
        action="store_true",
        help="print a line of JSON for each recording",
    )
    add(
        "--page",
        action=argparse.BooleanOptionalAction,
        help="write a page for each recording that plays and shows its voices",
    )
    add(
        "--rttm",
        action="store_true",
        help="write who speaks when to RECORDING.rttm, beside the voices",
    )
    add(
        "--overwrite",
        action="store_true",
        help="replace what an earlier run wrote",
    )
    add(
        "--trust_model",
        action="store_true",
        help="let the model folder run any program, if it wants to",
    )
    return parser


def number_or(*words):
    """A parser of whole numbers and some words."""

    def _parse(text):
        return text if text in words else int(text)

    # What argparse's errors say
    _parse.__name__ = f"number or {' or '.join(words)}"
    return _parse


class Teller:
    """Tells what becomes of each recording.

    Arguments
    ---------
    args : argparse.Namespace
    bar : tqdm.tqdm
        Which the lines may not disturb.
    """

    def __init__(self, args, bar):
        self.args = args
        self.bar = bar
        self.failed = []  # facts

    def __call__(self, facts):
        """Tell the facts as `dpcl_dprnn.apps.running.Run` gives them."""
        if "error" in facts:
            self.failed.append(facts)
        elif "passed_over" in facts and not self.args.json:
            names = facts["passed_over"]
            self.say(
                f"{facts['input']}: passed over what is no sound, by its "
                f"suffix ({len(names)}): {', '.join(names)}"
            )
            return
        if self.args.json:
            to_stdout = self.args.output != "-"
            self.bar.write(
                json.dumps(facts),
                file=sys.stdout if to_stdout else sys.stderr,
            )
            flush_output()
        elif "error" not in facts:
            channel = facts["channel"]
            of_channel = "" if channel == "mean" else f", channel {channel}"
            found = facts["found"]
            if not facts["count"]:
                found = "nobody speaks: no voice was written."
            lines = [f"{facts['input']}{of_channel}: {found}"]
            lines += [f"  Warning: {each}." for each in facts["warnings"]]
            if facts["gain_db"]:
                lines.append(
                    f"  All voices are {-facts['gain_db']:.1f} dB quieter, "
                    "lest one clip in FLAC."
                )
            if self.args.output != "-":
                extras = [facts[name] for name in EXTRAS if name in facts]
                lines += [f"  {path}" for path in [*facts["outputs"], *extras]]
            elif len(lines) == 1:
                return  # what was found is all that could be told
            for line in lines:
                self.say(line)

    def say(self, line):
        """Write a line above the bar."""
        self.bar.write(line, file=sys.stderr)

    def tell_errors(self):
        """Print what failed, and return the exit status."""
        for facts in self.failed:
            what, why = facts["input"], facts["error"]
            line = why if what in why else f"{what}: {why}"
            print(f"separate.py: error: {line}", file=sys.stderr)
        return 1 if self.failed else 0


def run(args):
    """Load the model, then separate; return the exit status."""
    # Not before the options are read: these imports take seconds.
    import tqdm

    from dpcl_dprnn.apps.finding import find_jobs
    from dpcl_dprnn.apps.running import Run
    from dpcl_dprnn.inference import SpeechSeparator
    from dpcl_dprnn.inference.loading import MODEL
    from dpcl_dprnn.training.machine import reuse_memory

    if args.output is None:
        args.output = "separated"
        args.page = args.page is None or args.page
    options = {"precision": args.precision}
    if args.device:
        options["device"] = args.device
    separator = SpeechSeparator.from_hparams(
        source=args.model or MODEL, safe=not args.trust_model, run_opts=options
    )
    if args.n_spks is None and separator.counts:
        args.n_spks = "auto"
    if str(separator.device) == "cpu":
        reuse_memory()
    with (
        tempfile.TemporaryDirectory() as scratch,
        tqdm.tqdm(unit="s", desc="separating", unit_scale=True) as bar,
    ):
        tell = Teller(args, bar)
        jobs = find_jobs(args.inputs, args.output, pathlib.Path(scratch))
        Run(separator, args, bar, tell)(jobs)
    return tell.tell_errors()


def main(argv=None):
    """Separate what the command line names.

    Arguments
    ---------
    argv : list, optional
        The command line; that of the process by default.

    Returns
    -------
    int
        Exit status: 0, 1 if a recording or all of it failed, 130 after
        Ctrl-C.
    """
    args = make_parser().parse_args(argv)
    return run_program("separate.py", run, args)


if __name__ == "__main__":
    sys.exit(main())
