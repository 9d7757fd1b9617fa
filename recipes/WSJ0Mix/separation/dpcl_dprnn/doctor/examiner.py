"""What the data doctor does alike with mixtures, speech and WSJ0.

Of what an examiner has listed, it reads all or a sample, and compares.
"""

import dataclasses

import numpy as np

from ..common.parallel import parallel_map

FEW = 1000  # files, read before another process has even started
ALMOST = 0.9  # of a published set: more may be an unfinished copy


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads all files, or a sample of them, as `check.examine` is asked to.

    Example
    -------
    >>> Reader().choose(["a", "b", "c"], 2)
    ['a', 'b', 'c']
    >>> len(Reader(quick=True).choose(["a", "b", "c"], 2))
    2
    """

    quick: bool = False
    jobs: int | None = None

    def choose(self, items, most):
        """All items; if quick, at most so many, and always the same ones."""
        if not self.quick or len(items) <= most:
            return items
        rng = np.random.default_rng(0)
        picked = rng.choice(len(items), most, replace=False)
        return [items[index] for index in sorted(picked)]

    def read(self, check, tasks, report, unit, name="checking"):
        """The `files.Check` of each of `{key: task}`; problems are reported.

        Other processes may call `check`. The progress bar counts a unit and
        has a name.
        """
        jobs = 1 if len(tasks) < FEW else self.jobs
        checks = parallel_map(check, [*tasks.values()], unit, jobs, name=name)
        checks = dict(zip(tasks, checks, strict=True))
        report.problems += [p for c in checks.values() for p in c.problems]
        return checks


def is_unfinished(count, published):
    """Whether a set looks like an interrupted copy of the published one."""
    return ALMOST * published <= count < published


def repeats(keyed):
    """What comes again of `(item, its keys)`, with the first of such a key.

    Example
    -------
    >>> list(repeats([("one", [1]), ("two", [2]), ("uno", [3, 1])]))
    [('uno', 'one')]
    """
    first = {}
    for item, keys in keyed:
        before = [first.setdefault(key, item) for key in keys]
        other = next((each for each in before if each is not item), None)
        if other is not None:
            yield item, other


def times_of(checks, count):
    """Hours of `count` files, and shortest/median/longest of those checked."""
    seconds = [c.frames / c.rate for c in checks if c.frames is not None]
    if not seconds:
        return "?", "?"
    hours = np.mean(seconds) * count / 3600
    ends = min(seconds), np.median(seconds), max(seconds)
    return f"{hours:.2f}", "/".join(f"{length:.1f}" for length in ends)
