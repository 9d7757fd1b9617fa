"""What the parts of the data doctor count alike: samples, hours, lengths."""

import numpy as np


def sample(items, count):
    """Some of many items, in their order; always the same ones.

    Arguments
    ---------
    items : list
        Anything.
    count : int
        How many at most.

    Returns
    -------
    list

    Example
    -------
    >>> sample(["a", "b", "c"], 5)
    ['a', 'b', 'c']
    >>> len(sample(["a", "b", "c"], 2))
    2
    """
    if len(items) <= count:
        return items
    picked = np.random.default_rng(0).choice(len(items), count, replace=False)
    return [items[index] for index in sorted(picked)]


def hours_of(seconds, count, digits=2):
    """Hours of `count` files, where the lengths of some are known.

    Example
    -------
    >>> hours_of([1800, 5400], 3)
    '3.00'
    >>> hours_of([], 3)
    '?'
    """
    if not seconds:
        return "?"
    return f"{np.mean(seconds) * count / 3600:.{digits}f}"


def lengths_of(seconds):
    """The shortest, the median and the longest of some lengths.

    Example
    -------
    >>> lengths_of([1, 2, 3.5])
    '1.0/2.0/3.5'
    """
    if not seconds:
        return "?"
    ends = min(seconds), float(np.median(seconds)), max(seconds)
    return "/".join(f"{length:.1f}" for length in ends)
