"""Turns: everything is timed once, then once more, and so on, so that a machine
whose speed drifts slows all.
"""

import time

import torch
from tqdm import tqdm


class Absent(Exception):
    """A contender that is not installed here, or does not run here."""


class Timed:
    """A function of nothing that gives its seconds, and keeps what it returned.

    A turn lasts `at_least` so many seconds, after the first: what takes less
    is called several times, and the mean is given.

    Example
    -------
    >>> answer = Timed(lambda: 42)
    >>> answer() > 0, answer.value
    (True, 42)
    """

    def __init__(self, function, device="cpu", at_least=0.02):
        self.function = function
        self.device = device
        self.at_least = at_least
        self.calls = 1

    def __call__(self):
        start = time.perf_counter()
        for _ in range(self.calls):
            self.value = self.function()
        if torch.device(self.device).type == "cuda":
            torch.cuda.synchronize()
        seconds = (time.perf_counter() - start) / self.calls
        self.calls = 1 + int(self.at_least / seconds)
        return seconds


def take_turns(entrants, repeats, label=""):
    """Time what there is, one after the other, `repeats` times.

    Each entrant gives the seconds that it took; a text takes no turn. All have
    one turn first that does not count. The label is of the counter on stderr.

    Example
    -------
    >>> take_turns({"a": lambda: 1.0, "b": "not installed"}, repeats=2)
    {'a': [1.0, 1.0]}
    """
    turns = {name: turn for name, turn in entrants.items() if callable(turn)}
    times = {name: [] for name in turns}
    for count in tqdm(range(repeats + 1), label, leave=False):
        for name, turn in turns.items():
            seconds = turn()
            if count:
                times[name].append(seconds)
    return times
