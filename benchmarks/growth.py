"""How the time of everything grows with length, batch and speakers."""

import argparse
import functools

import pieces
from memory import available_bytes
from suites import comparison, ours, theirs
from teams import teams

SECONDS = "seconds of audio"
BATCHES = (1, 2, 4, 8)
SPEAKERS = (2, 3, 4, 5)
LONGEST_IN_TRAINING = 15  # seconds
SAME = "{} with the sizes of dprnn.yaml"
SMALL = {  # where it is the batch that grows
    **{"kernel_size": 64, "num_filters": 128, "chunk_length": 50},
    **{"num_channels": 64, "hidden_size": 64, "num_layers": 3},
}


def growth(args):
    """See `bench.SUITES`."""
    yield from whole_steps(args)
    for title, make, options in (
        ("PIT loss, batch 1", pieces.pit, {"batch": 1}),
        ("deep-clustering loss", pieces.dpcl, {"explicit": False}),
        (
            "k-means head of dpcl_dprnn.yaml",
            pieces.kmeans,
            {"mask_head": False},
        ),
        ("scoring", pieces.scoring, {}),
    ):
        make = functools.partial(make, args, **options)
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
    for title, task, sizes, axis, values in (
        (SAME, "inference", {}, SECONDS, args.lengths),
        (SAME, "training", {}, SECONDS, training),
        ("{} of a small dprnn.yaml", "training", SMALL, "batch", BATCHES),
    ):
        hparams = {**sizes, **args.hparams}
        of = argparse.Namespace(**{**vars(args), "hparams": hparams})
        entrants = theirs(of, task)
        entrants.append(ours(of, task, "dprnn", "fp32"))
        with teams(entrants, args.device) as started:

            def make(value, axis=axis, started=started):
                given = {"seconds": args.seconds or 2.0, "batch": 1}
                given["batch" if axis == "batch" else "seconds"] = value
                return {
                    name: team.prepare(**given) if callable(team) else team
                    for name, team in started.items()
                }

            yield from along(args, title.format(task), axis, values, make)


def along(args, title, axis, values, make):
    """Compare the entrants that `make` gives for each of some ascending
    values, but for turns that take more than `args.cap` seconds.
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
        facts = {"axis": axis, "value": value}
        facts["audio"] = value if axis == SECONDS else None
        done = comparison(args, title, entrants, **facts)
        for row in done["contenders"]:
            if "spread" in row:
                last[row["name"]] = {"value": value, **row}
        yield done


def too_much(row, growth, cap, memory):
    """What a turn would take that is too much, or None.

    `row` is of `figures.compared`, for a value that is `growth` times smaller;
    time and memory are taken to grow alike, up to a cap and to what there is.
    """
    seconds = growth * row["spread"]["median"]
    if seconds > cap:
        return f"about {seconds:.0f} s"
    needed = growth * row.get("peak_bytes", 0)
    if needed > memory:
        return f"about {needed / 2**30:.0f} GiB"
    return None
