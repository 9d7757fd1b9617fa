"""Contenders that train or separate, in processes of their own.

What one sets in the C library and the memory that it takes are then its own.
The others wait while one computes.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import pathlib
import signal
import tempfile
import typing

import torch
from memory import peak_bytes, reset_peak
from turns import Absent, Timed

STEP = "step"  # a request; others are the arguments of `make_input`


@dataclasses.dataclass(frozen=True)
class Contender:
    """What runs in processes of its own, and has a name for the tables.

    `make` is called in each process with the `options`, of which `device` is
    one. It gives a function of `seconds` and `batch` that makes the input, and
    gives a function of nothing, which is what is timed; it raises `Absent`
    where it is not installed. There are `ranks` processes, which train
    together when there are several, of so many threads.
    """

    name: str
    make: typing.Callable
    options: dict
    threads: int
    ranks: int = 1


class Team:
    """The processes of a contender, seen from the one that gives the turns."""

    def __init__(self, contender, context):
        self.name = contender.name
        self.peak = 0  # bytes, of all processes together
        self.pipes, self.processes = [], []
        self.folder = tempfile.TemporaryDirectory()
        for rank in range(contender.ranks):
            ours, theirs = context.Pipe()
            work = (theirs, contender, rank, self.folder.name)
            process = context.Process(target=serve, args=work, daemon=True)
            process.start()
            theirs.close()  # so that its end is noticed here
            self.pipes.append(ours)
            self.processes.append(process)

    def answers(self, *request):
        """One of each process, to a request if there is any."""
        try:
            if request:
                for pipe in self.pipes:
                    pipe.send(request[0])
            return [pipe.recv() for pipe in self.pipes]
        except (EOFError, OSError):
            raise RuntimeError(
                f"{self.name}: its process has ended; if there is no error "
                "above, it may have run out of memory."
            ) from None

    def prepare(self, seconds, batch):
        """Make input; `batch` is that of all processes together."""
        self.peak = 0
        self.answers((seconds, batch // len(self.pipes)))
        return self

    def __call__(self):
        seconds, peaks = zip(*self.answers(STEP), strict=True)
        self.peak = max(self.peak, sum(peaks))
        return max(seconds)

    def close(self):
        """End the processes."""
        for pipe in self.pipes:
            with contextlib.suppress(OSError):
                pipe.send(None)
        for process in self.processes:
            process.join(timeout=10)
            process.kill()  # one that waits for another that has failed
        self.folder.cleanup()


@contextlib.contextmanager
def teams(contenders, device):
    """Start contenders, and end them when the block is left: by their names
    the teams, or a text that says why there is none.
    """
    with contextlib.ExitStack() as stack:
        started = []
        for contender in contenders:
            team = Team(contender, start_method(device))
            stack.callback(team.close)
            started.append(team)
        yield {team.name: team.answers()[0] or team for team in started}


def start_method(device):
    """How to start processes.

    By forking one that has imported all, which takes no time and makes none of
    them larger than another; but CUDA does not survive a fork.
    """
    if torch.device(device).type == "cuda":
        return multiprocessing.get_context("spawn")
    here = str(pathlib.Path(__file__).parent)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if here not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, paths)])
    context = multiprocessing.get_context("forkserver")
    # The second is a slow import of the first optimiser's.
    context.set_forkserver_preload(["suites", "torch._dynamo"])
    return context


def serve(pipe, contender, rank, folder):
    """Run a contender's part until there are no more requests."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other end will tell
    torch.set_num_threads(contender.threads)
    if contender.ranks > 1:
        join_group(rank, contender.ranks, folder)
    try:
        make_input = contender.make(**contender.options, folder=folder)
    except Absent as reason:
        pipe.send(str(reason))
        return
    pipe.send(None)
    device = contender.options["device"]
    while (request := pipe.recv()) is not None:
        if request != STEP:
            step = Timed(make_input(*request), device, at_least=0.0)
            pipe.send(None)
        else:
            reset_peak(device)
            pipe.send((step(), peak_bytes(device)))


def join_group(rank, ranks, folder):
    """Join the processes that train together, as torchrun would."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ["WORLD_SIZE"] = str(ranks)
    store = pathlib.Path(folder, "store").as_uri()
    torch.distributed.init_process_group(
        "gloo", init_method=store, rank=rank, world_size=ranks
    )
