"""The comparisons: who takes part, and with what input.

Each suite is a generator of the dictionaries that `comparison` makes.
"""

import argparse
import itertools

import contenders
import others
import pieces
from figures import compared
from teams import Contender, teams
from turns import take_turns

RANKS = 2  # processes that train together
OF_A_RANK = {"mini": 4, "dprnn": 1}  # mixtures


def comparison(args, title, entrants, check=None, audio=None, **facts):
    """Let entrants of `turns.take_turns` compute, and tell what came out.

    `check` compares what they computed, `audio` are the seconds of it in a
    turn, and `facts` are kept; of these, `speed` names a figure that is shown.
    """
    times = take_turns(entrants, args.repeats, title)
    return {
        "title": title,
        **facts,
        "contenders": compared(entrants, times, audio),
        "checks": check(entrants) if check else {},
    }


def theirs(args, task):
    """Stock SpeechBrain and Asteroid, which train or separate (`task`), with
    the sizes of `dprnn.yaml`.
    """
    options = {"system": "dprnn", "device": args.device}
    options["hparams"] = args.hparams
    return [
        Contender(name, getattr(others, make + task), options, args.threads)
        for name, make in (
            ("stock SpeechBrain fp32", "stock_"),
            ("Asteroid's DPRNNTasNet fp32", "asteroid_"),
        )
    ]


def ours(args, task, system, precision, **more):
    """One of our systems; see `theirs`, and `Contender` for `more`."""
    options = {"system": system, "precision": precision}
    options |= {"device": args.device, "hparams": args.hparams}
    if task == "training":
        options["compiled"] = args.compile
    settings = {"name": f"{system}.yaml {precision}", "threads": args.threads}
    make = getattr(contenders, f"our_{task}")
    return Contender(make=make, options=options, **{**settings, **more})


def of_teams(args, entrants, title, check=None, **facts):
    """A comparison of contenders, each in processes of its own."""
    seconds, batch = facts["seconds"], facts["batch"]
    with teams(entrants, args.device) as started:
        for team in started.values():
            if callable(team):
                team.prepare(seconds, batch)
        title = f"{title}, {batch} x {seconds:g} s, {facts['precision']}"
        audio = batch * seconds
        yield comparison(args, title, started, check, audio, **facts)


def systems(args, task, title, speed):
    """All of our systems, stock SpeechBrain and Asteroid.

    In one comparison for each precision, as all at a time would not fit in the
    memory of a small machine.
    """
    facts = {"seconds": args.seconds or 4.0, "batch": args.batch or 1}
    for precision in args.precision:
        entrants = [] if args.alone else theirs(args, task)
        entrants += [
            ours(args, task, system, precision) for system in args.systems
        ]
        yield from of_teams(
            *(args, entrants, title),
            lambda _: others.same_weights("dprnn", args.folder, args.hparams),
            **facts,
            speed=speed,
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
    args = argparse.Namespace(**{**vars(args), "device": "cpu"})
    for system, precision in itertools.product(OF_A_RANK, args.precision):
        crop = contenders.load(system, args.folder, {})["training_crop"]
        entrants = [
            ours(
                *(args, "training", system, precision),
                name=f"processes: {processes}, threads of each: {threads}",
                threads=threads,
                ranks=processes,
            )
            for processes, threads in ((1, RANKS), (RANKS, 1))
        ]
        yield from of_teams(
            *(args, entrants, f"training of {system}.yaml"),
            speed="audio_per_second",
            seconds=args.seconds or crop,
            batch=RANKS * (args.batch or OF_A_RANK[system]),
            precision=precision,
        )


def pit(args):
    """The PIT loss."""
    seconds, batch = args.seconds or 4.0, args.batch or 4
    title = f"PIT loss and gradient, {batch} x {seconds:g} s, 2 speakers"
    entrants = pieces.pit(args, seconds, batch)
    facts = {"seconds": seconds, "batch": batch}
    yield comparison(args, title, entrants, pieces.pit_check, **facts)


def dpcl(args):
    """The loss of deep clustering, where N x N fits and where it does not."""
    seconds = args.seconds or 4.0
    for length, explicit in ((min(seconds, 0.25), True), (seconds, False)):
        title = f"deep-clustering loss and gradient, {length:g} s"
        title += ", as defined" if explicit else ""
        entrants = pieces.dpcl(args, length, explicit=explicit)
        check = pieces.dpcl_check
        yield comparison(args, title, entrants, check, seconds=length)


def kmeans(args):
    """Clustering an utterance."""
    seconds = args.seconds or 5.0
    title = f"evaluation of a mixture of {seconds:g} s with dpcl_dprnn.yaml"
    entrants = pieces.kmeans(args, seconds)
    yield comparison(args, title, entrants, seconds=seconds)


def scoring(args):
    """Scoring an utterance."""
    seconds = args.seconds or 4.0
    title = f"scoring an utterance of 2 speakers, {seconds:g} s"
    entrants, check = pieces.scoring(args, seconds), pieces.scoring_check
    yield comparison(args, title, entrants, check, seconds=seconds)
