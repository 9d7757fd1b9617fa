"""Recordings that are separated together."""

import types

from dpcl_dprnn.apps.running import LOOK_AHEAD, in_batches


def recordings(*seconds):
    return [
        (number, types.SimpleNamespace(frames=each * 8000, rate=8000))
        for number, each in enumerate(seconds)
    ]


def lengths(batches):
    return [[r.frames // r.rate for _, r in batch] for batch in batches]


def test_batches_hold_what_is_alike_and_long_ones_are_alone():
    pairs = recordings(40, 3, 20, 1, 30, 2, 31, 19)
    got = lengths(in_batches(pairs, 2, longest=30))
    assert got == [[1, 2], [3, 19], [20, 30], [31], [40]]


def test_alone_all_keep_their_order():
    got = lengths(in_batches(recordings(4, 40, 3, 2), 1, longest=30))
    assert got == [[4], [40], [3], [2]]


def test_no_more_is_opened_than_is_looked_at():
    opened = []

    def pairs():
        while True:
            opened.extend(recordings(1))
            yield opened[-1]

    batches = in_batches(pairs(), 3, longest=30)
    assert len(next(batches)) == 3
    assert len(opened) == 3 * LOOK_AHEAD
