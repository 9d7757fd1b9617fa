#!/usr/bin/env python3
"""Separate recordings in which several people talk at once.

    python separate.py meeting.wav --model results/mini/1234/model --output out

writes meeting_s1.wav, meeting_s2.wav and so on, at the rate, level and length
of the recording. They sum to the mean of its channels, less what is too high
for the model's sampling rate. Recordings may be files of any rate, channels and
length, folders of such files, or - for standard input; --output - writes the
voices as channels of one file to standard output.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import sys
import tempfile
import time

from dpcl_dprnn.common.errors import UserError, writing_error
from dpcl_dprnn.inference.jobs import (
    Job,
    find_jobs,
    in_batches,
    plain_error,
    reason,
)
from dpcl_dprnn.inference.recordings import HIGHEST

# Of one recording, past which the others are separated. Memory that a GPU
# lacks is a RuntimeError.
FAILURES = (UserError, OSError, RuntimeError, MemoryError)


def make_parser():
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="separate.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="sound files, folders, or -"
    )
    parser.add_argument(
        "--model", required=True, help="model folder, or user/name on the Hub"
    )
    parser.add_argument("--output", required=True, help="folder to write, or -")
    parser.add_argument(
        "--n_spks",
        type=number_or("auto"),
        help="voices to find, or auto; by default as many as the model "
        "separates",
    )
    parser.add_argument(
        "--head",
        choices=("masks", "kmeans"),
        help="by default masks, where the model has them",
    )
    parser.add_argument(
        "--channel",
        type=number_or("mean"),
        default="mean",
        help="which channel of several, from 0 on, or mean (default)",
    )
    parser.add_argument(
        "--sample_rate",
        type=int,
        help="of the voices, in Hz; by default that of the recording",
    )
    parser.add_argument(
        "--format",
        choices=("wav", "flac"),
        default="wav",
        help="wav: 32-bit floating point (default); flac: 24 bits",
    )
    parser.add_argument("--device", help="such as cpu, cuda or cuda:1")
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16"),
        default="fp32",
        help="bf16 is faster where the processor computes it natively",
    )
    parser.add_argument(
        "--batch",
        type=int,
        help="short recordings to separate at a time; by default 8 on a GPU, "
        "1 on a CPU, where more gain nothing",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a line of JSON for each recording",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace voices of an earlier run",
    )
    parser.add_argument(
        "--trust_model",
        action="store_true",
        help="let the model folder run any program, if it wants to",
    )
    return parser


def number_or(word):
    """A parser of whole numbers and one word."""

    def parse(text):
        return text if text == word else int(text)

    parse.__name__ = f"number or {word}"  # what argparse's errors say
    return parse


class Run:
    """One call of the command: what it separates, and how that goes.

    Arguments
    ---------
    args : argparse.Namespace
    separator : dpcl_dprnn.inference.SpeechSeparator
    """

    def __init__(self, args, separator):
        self.args = args
        self.separator = separator
        self.failed = []  # (what, why)
        self.taken = set()  # of outputs
        self.lines = sys.stderr if args.output == "-" else sys.stdout

    def __call__(self, jobs):
        """Separate all jobs; carry on past those that fail."""
        import tqdm

        from dpcl_dprnn.inference.separator import WINDOW

        on_cpu = str(self.separator.device) == "cpu"
        size = self.args.batch or (1 if on_cpu else 8)
        with tqdm.tqdm(unit="s", desc="separating", unit_scale=True) as bar:
            self.bar = bar
            ready = filter(None, map(self._open, jobs))
            for group in in_batches(ready, size, longest=WINDOW):
                self._separate(group)

    def _open(self, job):
        """A job with its recording, or None if it cannot be done."""
        from dpcl_dprnn.inference.recordings import FileRecording

        try:
            if not isinstance(job, Job):
                raise job[1]
            recording = FileRecording(job.path, self.args.channel)
            self._check_output(job)
            seconds = recording.frames / recording.rate
            # A little more, as the parts of a sum may exceed it in rounding.
            self.bar.total = (self.bar.total or 0) + seconds + 1e-6
            return job, recording
        except (UserError, OSError) as error:
            shown = job.shown if isinstance(job, Job) else job[0]
            self._fail(shown, plain_error(shown, error))
            return None

    def _check_output(self, job):
        from dpcl_dprnn.inference.voice_files import written_before

        if job.folder is None:
            if self.taken:
                raise UserError(
                    "standard output takes the voices of one recording only. "
                    "Name a folder with --output."
                )
            self.taken.add("-")
            return
        place = job.folder / job.name
        if place in self.taken:
            raise UserError(
                f"an earlier recording has the name {job.name} too: its voices "
                "would be overwritten. Rename one, or separate them into "
                "different folders."
            )
        before = written_before(job.folder, job.name, self.args.format)
        if before and not self.args.overwrite:
            raise UserError(
                f"{before[0]} is there already. Give --overwrite to replace it."
            )
        self.taken.add(place)

    def _separate(self, group):
        started = time.perf_counter()
        streams = self._streams(group)
        if streams is None:  # perhaps too large together
            for each in group:
                self._separate([each])
            return
        share = (time.perf_counter() - started) / len(group)
        for (job, recording), stream in zip(group, streams, strict=True):
            try:
                if isinstance(stream, Exception):
                    raise stream
                started = time.perf_counter()
                outputs = self._write(job, recording, stream)
                spent = share + time.perf_counter() - started
                self._report(job, recording, stream, outputs, spent)
            except BrokenPipeError:
                raise
            except FAILURES as error:
                self._fail(job.shown, plain_error(job.shown, error))

    def _streams(self, group):
        """The voices of each, or an error; None if a whole batch fails."""
        try:
            return self.separator.streams(
                [recording for _, recording in group],
                self.args.n_spks,
                self.args.head,
                self.args.sample_rate,
            )
        except FAILURES as error:
            return [error] if len(group) == 1 else None

    def _write(self, job, recording, stream):
        from dpcl_dprnn.inference import voice_files
        from dpcl_dprnn.inference.recordings import count_frames

        frames = count_frames(recording.frames, recording.rate, stream.rate)
        blocks = self._watched(stream.blocks, stream.rate)
        stream = dataclasses.replace(stream, blocks=blocks)
        if job.folder is None:
            voice_files.write_together(
                stream, frames, sys.stdout.buffer, self.args.format
            )
            return ["-"]
        before = voice_files.written_before(
            job.folder, job.name, self.args.format
        )
        outputs = voice_files.write_voices(
            stream, frames, job.folder, job.name, self.args.format
        )
        for path in set(before) - set(outputs):  # there were more voices
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise UserError(
                    f"Cannot remove {path}, which is of an earlier run: "
                    f"{reason(error)}. Remove it."
                ) from error
        return [str(path) for path in outputs]

    def _watched(self, blocks, rate):
        for block in blocks:
            self.bar.update(block.shape[1] / rate)
            yield block

    def _report(self, job, recording, stream, outputs, spent):
        if not self.args.json:
            if not stream.count:
                self.bar.write(
                    f"{job.shown}: nobody speaks: nothing was written.",
                    file=sys.stderr,
                )
            return
        seconds = recording.frames / recording.rate
        self._print_json(
            input=job.shown,
            outputs=outputs,
            count=stream.count,
            confidence=stream.confidence,
            head=self.args.head or self.separator.heads[0],
            sample_rate=stream.rate,
            seconds=round(seconds, 3),
            real_time_factor=round(spent / seconds, 4),
        )

    def _fail(self, shown, error):
        self.failed.append((shown, str(error)))
        if self.args.json:
            self._print_json(input=shown, error=str(error))

    def _print_json(self, **facts):
        try:
            self.bar.write(json.dumps(facts), file=self.lines)
            self.lines.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise writing_error("the lines of JSON", error) from error


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
    status = _guarded(args)
    try:
        if sys.stdout is not None:  # closed
            sys.stdout.flush()
    except OSError:  # Python would try again at its end, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return status or 1
    return status


def _guarded(args):
    try:
        return run(args)
    except UserError as error:
        print(f"separate.py: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("separate.py: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who read standard output has gone
        return 1


def run(args):
    """Load the model, then separate; return the exit status."""
    # Not before the options are read: these imports take seconds.
    from dpcl_dprnn.common.program import exit_on_sigterm
    from dpcl_dprnn.inference import SpeechSeparator
    from dpcl_dprnn.training.machine import reuse_memory

    check_numbers(args)
    options = {"precision": args.precision}
    if args.device:
        options["device"] = args.device
    separator = SpeechSeparator.from_hparams(
        source=args.model, safe=not args.trust_model, run_opts=options
    )
    separator.unmixer.check(args.n_spks, args.head)
    if str(separator.device) == "cpu":
        reuse_memory()
    separating = Run(args, separator)
    with exit_on_sigterm(), tempfile.TemporaryDirectory() as scratch:
        separating(find_jobs(args.inputs, args.output, pathlib.Path(scratch)))
    for shown, why in separating.failed:
        line = why if shown in why else f"{shown}: {why}"
        print(f"separate.py: error: {line}", file=sys.stderr)
    return 1 if separating.failed else 0


def check_numbers(args):
    """Refuse numbers that make no sense."""
    for key in ("sample_rate", "batch"):
        value = getattr(args, key)
        if value is not None and value < 1:
            raise UserError(f"--{key} is {value}; a number above 0 is needed.")
    if args.sample_rate and args.sample_rate > HIGHEST:
        raise UserError(
            f"--sample_rate is {args.sample_rate}; {HIGHEST} Hz is the limit."
        )


if __name__ == "__main__":
    sys.exit(main())
