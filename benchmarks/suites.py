"""The comparisons: who takes part, and with what input.

Each suite is a generator of the dictionaries that `comparison` makes.
"""

import argparse

import contenders
import others
import pieces
from figures import compared
from others import same_weights
from teams import Contender, teams
from turns import take_turns

RANKS = 2  # processes that train together
OF_A_RANK = {"mini": 4, "dprnn": 1}  # mixtures


def comparison(args, title, entrants, check=None, audio=None, **facts):
    """Let entrants take turns, and tell what came out.

    Arguments
    ---------
    args : argparse.Namespace
        Of bench.py.
    title : str
    entrants : dict of str to (callable or str)
        See `turns.take_turns`.
    check : callable, optional
        Compares what the entrants computed.
    audio : float, optional
        Seconds of audio in a turn.
    **facts
        What else to keep; with `speed`, the name of a figure, that is shown.

    Returns
    -------
    dict
    """
    times = take_turns(entrants, args.repeats, title)
    return {
        "title": title,
        **facts,
        "contenders": compared(entrants, times, audio),
        "checks": check(entrants) if check else {},
    }


def theirs(args, task, system="dprnn"):
    """Stock SpeechBrain and Asteroid; `task` is what they do.

    Arguments
    ---------
    args : argparse.Namespace
        Of bench.py.
    task : str
        training or inference.
    system : str
        The hparams file that has their sizes.

    Returns
    -------
    list of teams.Contender
    """
    options = {
        "system": system,
        "device": args.device,
        "hparams": args.hparams,
    }
    return [
        Contender(name, getattr(others, make + task), options, args.threads)
        for name, make in (
            ("stock SpeechBrain fp32", "stock_"),
            ("Asteroid's DPRNNTasNet fp32", "asteroid_"),
        )
    ]


def ours(args, task, system, precision, **more):
    """One of our systems; see `theirs`, and `Contender` for `more`."""
    options = {
        "system": system,
        "precision": precision,
        "device": args.device,
        "hparams": args.hparams,
    }
    settings = {"name": f"{system}.yaml {precision}", "threads": args.threads}
    make = getattr(contenders, f"our_{task}")
    return Contender(make=make, options=options, **{**settings, **more})


def systems(args, task, title, speed):
    """All of our systems, stock SpeechBrain and Asteroid.

    In one comparison for each precision, as all at a time would not fit in the
    memory of a small machine.
    """
    seconds, batch = args.seconds or 4.0, args.batch or 1
    for precision in args.precision:
        entrants = theirs(args, task)
        entrants += [
            ours(args, task, system, precision) for system in args.systems
        ]
        with teams(entrants, args.device) as started:
            for team in started.values():
                if callable(team):
                    team.prepare(seconds, batch)
            yield comparison(
                args,
                f"{title}, {batch} x {seconds:g} s, {precision}",
                started,
                check=lambda _: same_weights(
                    "dprnn", args.folder, args.hparams
                ),
                audio=batch * seconds,
                speed=speed,
                seconds=seconds,
                batch=batch,
                precision=precision,
            )


def training(args):
    """A training step."""
    yield from systems(args, "training", "a training step", "audio_per_second")


def inference(args):
    """Separation by the mask heads, or embedding where there are none."""
    yield from systems(args, "inference", "separation", "real_time_factor")


def ranks(args):
    """Processes of one thread that train together, or threads of one."""
    for system in OF_A_RANK:
        for precision in args.precision:
            yield from ranks_of(system, precision, args)


def ranks_of(system, precision, args):
    """The comparison of one system."""
    on_cpu = argparse.Namespace(**{**vars(args), "device": "cpu"})
    crop = contenders.load(system, args.folder, {})["training_crop"]
    seconds = args.seconds or crop
    batch = RANKS * (args.batch or OF_A_RANK[system])
    entrants = [
        ours(
            on_cpu,
            "training",
            system,
            precision,
            name=f"processes: {processes}, threads of each: {threads}",
            threads=threads,
            ranks=processes,
        )
        for processes, threads in ((1, RANKS), (RANKS, 1))
    ]
    with teams(entrants, on_cpu.device) as started:
        for team in started.values():
            team.prepare(seconds, batch)
        yield comparison(
            args,
            f"training of {system}.yaml, {batch} x {seconds:g} s, {precision}",
            started,
            audio=batch * seconds,
            speed="audio_per_second",
            seconds=seconds,
            batch=batch,
            precision=precision,
        )


def pit(args):
    """The PIT loss."""
    seconds, batch = args.seconds or 4.0, args.batch or 4
    yield comparison(
        args,
        f"PIT loss and gradient, {batch} x {seconds:g} s, 2 speakers",
        pieces.pit(args, seconds, batch),
        check=pieces.pit_check,
        seconds=seconds,
        batch=batch,
    )


def dpcl(args):
    """The loss of deep clustering, where N x N fits and where it does not."""
    seconds = args.seconds or 4.0
    for length, explicit in ((min(seconds, 0.25), True), (seconds, False)):
        title = f"deep-clustering loss and gradient, {length:g} s"
        yield comparison(
            args,
            f"{title}, as defined" if explicit else title,
            pieces.dpcl(args, length, explicit=explicit),
            check=pieces.dpcl_check,
            seconds=length,
        )


def kmeans(args):
    """Clustering an utterance."""
    seconds = args.seconds or 5.0
    yield comparison(
        args,
        f"evaluation of a mixture of {seconds:g} s with dpcl_dprnn.yaml",
        pieces.kmeans(args, seconds),
        seconds=seconds,
    )


def scoring(args):
    """Scoring an utterance."""
    seconds = args.seconds or 4.0
    yield comparison(
        args,
        f"scoring an utterance of 2 speakers, {seconds:g} s",
        pieces.scoring(args, seconds),
        check=pieces.scoring_check,
        seconds=seconds,
    )
