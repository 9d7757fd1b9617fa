"""How the time of everything grows with length, batch and speakers."""

import functools

import pieces
from memory import available_bytes
from suites import comparison, ours, theirs
from teams import teams

SECONDS = "seconds of audio"
BATCHES = (1, 2, 4, 8)
SPEAKERS = (2, 3, 4, 5)
LONGEST_IN_TRAINING = 15  # seconds


def growth(args):
    """See `bench.SUITES`."""
    yield from whole_steps(args)
    for title, make in {
        "PIT loss, batch 1": functools.partial(pieces.pit, args, batch=1),
        "deep-clustering loss": functools.partial(
            pieces.dpcl, args, explicit=False
        ),
        "k-means head of dpcl_dprnn.yaml": functools.partial(
            pieces.kmeans, args, mask_head=False
        ),
        "scoring": functools.partial(pieces.scoring, args),
    }.items():
        yield from along(args, title, SECONDS, args.lengths, make)
    seconds = args.seconds or 4.0
    for title, make in {
        f"PIT loss, 4 x {seconds:g} s": lambda speakers: pieces.pit(
            args, seconds, speakers=speakers
        ),
        f"deep-clustering loss, {seconds:g} s": lambda speakers: pieces.dpcl(
            args, seconds, speakers=speakers, explicit=False
        ),
    }.items():
        yield from along(args, title, "speakers", SPEAKERS, make)


def whole_steps(args):
    """Separation and training by length, and training by batch."""
    training = [each for each in args.lengths if each <= LONGEST_IN_TRAINING]
    for task, system, axis, values in (
        ("inference", "dprnn", SECONDS, args.lengths),
        ("training", "dprnn", SECONDS, training),
        ("training", "mini", "batch", BATCHES),
    ):
        entrants = theirs(args, task, system)
        entrants.append(ours(args, task, system, "fp32"))
        with teams(entrants, args.device) as started:

            def make(value, axis=axis, started=started):
                sizes = {"seconds": args.seconds or 2.0, "batch": 1}
                sizes["batch" if axis == "batch" else "seconds"] = value
                return {
                    name: team.prepare(**sizes) if callable(team) else team
                    for name, team in started.items()
                }

            title = f"{task} with the sizes of {system}.yaml"
            yield from along(args, title, axis, values, make)


def along(args, title, axis, values, make):
    """Compare for each of some values, but for turns that take too much.

    Arguments
    ---------
    args : argparse.Namespace
        Of bench.py; `cap` are the seconds that a turn may take.
    title : str
    axis : str
        What the values are of.
    values : sequence of float
        Ascending.
    make : callable
        Gives the entrants for a value.

    Yields
    ------
    dict
        Of `suites.comparison`.
    """
    last = {}
    for value in values:
        entrants = make(value)
        memory = available_bytes(args.device)  # for all of them together
        for name, row in last.items():
            growth = value / row["value"]
            reason = too_much(row, growth, args.cap, memory)
            if reason:
                entrants[name] = f"left out: takes {reason}"
            else:
                memory -= growth * row.get("peak_bytes", 0)
        audio = value if axis == SECONDS else None
        done = comparison(
            args, title, entrants, audio=audio, axis=axis, value=value
        )
        for row in done["contenders"]:
            if "spread" in row:
                last[row["name"]] = {"value": value, **row}
        yield done


def too_much(row, growth, cap, memory):
    """What a turn would take that is too much, or None.

    Arguments
    ---------
    row : dict
        Of `figures.compared`, for a smaller value.
    growth : float
        How much larger the value is. Time and memory are taken to grow alike.
    cap : float
        Seconds that a turn may take.
    memory : float
        Bytes that there are.

    Returns
    -------
    str or None
    """
    seconds = growth * row["spread"]["median"]
    if seconds > cap:
        return f"about {seconds:.0f} s"
    needed = growth * row.get("peak_bytes", 0)
    if needed > memory:
        return f"about {needed / 2**30:.0f} GiB"
    return None
