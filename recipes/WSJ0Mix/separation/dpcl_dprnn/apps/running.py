"""What separate.py does: recordings separated, and written."""

import dataclasses
import itertools
import sys
import time

from ..common.errors import UserError
from ..common.files import write_text
from ..inference.recordings import FileRecording, count_frames
from ..inference.separator import WINDOW
from ..sound.opening import opened
from ..unmixing.turns import Activity, rttm
from .finding import STDIN, plain_error
from .player import count_in_words, write_page
from .voice_files import write_together, write_voices, written_before

LOOK_AHEAD = 16  # batches in which to look for recordings of like lengths
# Memory that a GPU lacks is a RuntimeError.
FAILURES = (OSError, RuntimeError, MemoryError)


class Run:
    """Separates jobs, and carries on past those that fail.

    Arguments
    ---------
    separator : dpcl_dprnn.inference.SpeechSeparator
    options : argparse.Namespace
        Of separate.py.
    bar : tqdm.tqdm
        Counts seconds.
    tell : callable
        Gets the facts of each recording that is done, as a dict: those that
        separate.py prints, or `input` and `error`, or `input` and
        `passed_over`.
    """

    def __init__(self, separator, options, bar, tell):
        self.separator = separator
        self.options = options
        self.bar = bar
        self.tell = tell
        self.taken = {}  # the outputs, and what an earlier run left of them

    def __call__(self, jobs):
        """Separate all jobs.

        Raises
        ------
        UserError
            When the model cannot do what the options ask for.
        """
        on_cpu = str(self.separator.device) == "cpu"
        size = self.options.batch or (1 if on_cpu else 8)
        jobs = itertools.chain.from_iterable(map(self._by_channel, jobs))
        ready = filter(None, map(self._open, jobs))
        for group in in_batches(ready, size, longest=WINDOW):
            self._separate(group)

    def _by_channel(self, job):
        """The jobs of the channels that are wanted, named by them."""
        wanted = self.options.channel
        if wanted == "mean" or job.path is None:
            return [job]
        try:
            with opened(job.path, strict=False) as file:
                count = file.channels
        except UserError:
            return [job]  # which is told when it is opened
        if count == 1 and wanted in ("each", 0):
            return [job]
        return [
            job._replace(channel=n, name=f"{job.name}_channel{n}")
            for n in (range(count) if wanted == "each" else [wanted])
        ]

    def _open(self, job):
        """A job with its recording, or None if it cannot be done."""
        if job.passed_over:
            names = [str(path) for path in job.passed_over]
            self.tell({"input": job.shown, "passed_over": names})
            return None
        try:
            if job.error:
                raise job.error
            recording = FileRecording(job.path, job.channel)
            self._take_output(job)
        except (UserError, OSError) as error:
            self._fail(job, error)
            return None
        seconds = recording.frames / recording.rate
        # A little more, as the parts of a sum may exceed it in rounding.
        self.bar.total = (self.bar.total or 0) + seconds + 1e-6
        return job, recording

    def _take_output(self, job):
        before = there = []
        if job.folder is None:
            if self.options.rttm or self.options.page:
                raise UserError(
                    "--rttm and --page write files beside the voices. Name a "
                    "folder with --output."
                )
            if self.taken:
                raise UserError(
                    "standard output takes the voices of one recording only. "
                    "Name a folder with --output."
                )
        elif (job.folder, job.name) in self.taken:
            raise UserError(
                f"an earlier recording has the name {job.name} too: its voices "
                "would be overwritten. Rename one, or separate them into "
                "different folders."
            )
        else:
            before = written_before(job.folder, job.name, self.options.format)
            extras = self._extras(job).values()
            there = [*before, *(path for path in extras if path.exists())]
        if there and not self.options.overwrite:
            raise UserError(
                f"{there[0]} is there already. Give --overwrite to replace it."
            )
        self.taken[job.folder, job.name] = before

    def _extras(self, job):
        """The files that there are to be beside the voices, by their options."""
        suffixes = {"rttm": ".rttm", "page": ".html"}
        return {
            name: job.folder / f"{job.name}{suffix}"
            for name, suffix in suffixes.items()
            if getattr(self.options, name)
        }

    def _separate(self, group):
        options, started = self.options, time.perf_counter()
        try:
            streams = self.separator.streams(
                [recording for _, recording in group],
                options.n_spks,
                options.head,
                options.sample_rate,
            )
        except FAILURES as error:
            if len(group) > 1:  # perhaps too large together
                for each in group:
                    self._separate([each])
                return
            streams = [error]
        share = (time.perf_counter() - started) / len(group)
        for (job, recording), stream in zip(group, streams, strict=True):
            started = time.perf_counter()
            try:
                if isinstance(stream, Exception):
                    raise stream
                outputs, gain_db, turns = self._write(job, recording, stream)
                spent = share + time.perf_counter() - started
                seconds = recording.frames / recording.rate
                expected = stream.expectation.improvement
                found = count_in_words(
                    stream.count, stream.confidence, expected
                )
                told = [f"{found} in {seconds:.1f} s", *recording.warnings]
                extras = self._write_extras(
                    job,
                    recording,
                    outputs,
                    turns,
                    ". ".join(map(capitalised, told)),
                )
            except BrokenPipeError:
                raise
            except (UserError, *FAILURES) as error:
                self._fail(job, error)
                continue
            self.tell(
                {
                    "input": job.shown,
                    "channel": recording.channel,
                    "warnings": recording.warnings,
                    "outputs": [str(path) for path in outputs],
                    "gain_db": gain_db,
                    **{name: str(path) for name, path in extras.items()},
                    "found": found,
                    "count": stream.count,
                    "confidence": stream.confidence,
                    "expected_si_snr_i": expected,
                    "head": stream.head,
                    "sample_rate": stream.rate,
                    "turns": [
                        {
                            "voice": turn.voice + 1,
                            "start": turn.start,
                            "end": turn.end,
                        }
                        for turn in turns
                    ],
                    "seconds": round(seconds, 3),
                    "real_time_factor": round(spent / seconds, 4),
                }
            )

    def _write(self, job, recording, stream):
        """Write the voices; return their files, the gain that they were given
        in dB, and who speaks when.
        """
        frames = count_frames(recording.frames, recording.rate, stream.rate)
        activity = Activity(stream.rate)
        blocks = activity.watched(self._watched(stream.blocks, stream.rate))
        stream = dataclasses.replace(stream, blocks=blocks)
        format = self.options.format
        if job.folder is None:
            gain_db = write_together(stream, frames, sys.stdout.buffer, format)
            return ["-"], gain_db, activity.turns()
        before = self.taken[job.folder, job.name]
        outputs, gain_db = write_voices(
            stream, frames, job.folder, job.name, format, before
        )
        return outputs, gain_db, activity.turns()

    def _write_extras(self, job, recording, outputs, turns, told):
        """Write what there is to be beside the voices; return the files."""
        extras = self._extras(job)
        if "rttm" in extras:
            write_text(extras["rttm"], rttm(turns, job.name))
        if "page" in extras:
            write_page(
                extras["page"],
                recording,
                outputs,
                turns,
                told,
                self.separator.sample_rate,
                stays=job.shown != STDIN and job.channel == "mean",
            )
        return extras

    def _watched(self, blocks, rate):
        for block in blocks:
            self.bar.update(block.shape[1] / rate)
            yield block

    def _fail(self, job, error):
        why = plain_error(job.shown, error)
        self.tell({"input": job.shown, "error": str(why)})


def capitalised(text):
    """A text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def in_batches(opened, size, longest):
    """Put short recordings of like lengths together, and long ones alone.

    Arguments
    ---------
    opened : iterable of (Job, recordings.FileRecording)
    size : int
        The most recordings in a batch. With 1 the order is kept.
    longest : float
        Seconds, up to which a recording is short.

    Yields
    ------
    list of (Job, recordings.FileRecording)
    """
    opened = iter(opened)

    def _seconds(pair):
        return pair[1].frames / pair[1].rate

    ahead = size * LOOK_AHEAD if size > 1 else 1
    while pairs := list(itertools.islice(opened, ahead)):
        pairs.sort(key=_seconds)
        short = [pair for pair in pairs if _seconds(pair) <= longest]
        for start in range(0, len(short), size):
            yield short[start : start + size]
        for pair in pairs[len(short) :]:
            yield [pair]
