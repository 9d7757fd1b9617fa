"""From seconds to medians, ratios and tables."""

import contextlib
import os
import pathlib
import platform
import re
import statistics

import numpy
import scipy
import sklearn
import speechbrain
import torch

WIDTH = 44  # of a column


def spread(values):
    """Median, least and most of some values.

    Example
    -------
    >>> spread([3.0, 1.0, 2.0])
    {'median': 2.0, 'min': 1.0, 'max': 3.0}
    """
    median = statistics.median(values)
    return {"median": median, "min": min(values), "max": max(values)}


def compared(entrants, times, audio=None):
    """What there is to say about each entrant of `turns.take_turns`, by the
    times that it gave and the seconds of audio in a turn.

    Returns
    -------
    list of dict
        Each with `name`, `times` and their `spread`, the `ratio` to the first
        entrant, round by round, and, where they are known, `peak_bytes`, the
        `real_time_factor` and the `audio_per_second`; or with `name` and a
        `note`.
    """
    first = times.get(next(iter(entrants)))
    rows = []
    for name, entrant in entrants.items():
        row = {"name": name}
        rows.append(row)
        if name not in times:
            row["note"] = entrant
            continue
        row.update(times=times[name], spread=spread(times[name]))
        if first:
            pairs = zip(times[name], first, strict=True)
            row["ratio"] = spread([seconds / other for seconds, other in pairs])
        if getattr(entrant, "peak", 0):
            row["peak_bytes"] = entrant.peak
        if audio:
            row["real_time_factor"] = row["spread"]["median"] / audio
            row["audio_per_second"] = audio / row["spread"]["median"]
    return rows


def versions():
    """What the figures depend on, besides the code."""
    gpu = torch.cuda.is_available() and torch.cuda.get_device_name()
    modules = (torch, speechbrain, numpy, scipy, sklearn)
    return {
        "python": platform.python_version(),
        **{module.__name__: module.__version__ for module in modules},
        "system": platform.platform(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        "gpu": gpu or None,
    }


def cpu_model():
    """The processor's name, as far as it can be found out."""
    with contextlib.suppress(OSError):
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
        if found := re.search(r"^model name\s*: (.*)", text, re.MULTILINE):
            return found[1]
    return platform.processor() or platform.machine()


def show(comparison, header=True):
    """Print a comparison: a line for each contender, or, of what grows, a row
    of a table, after the header if it is the first.
    """
    rows = comparison["contenders"]
    if header:
        print(f"\n{comparison['title']}")
    if "axis" in comparison:
        names = (comparison["axis"], *(row["name"] for row in rows))
        cells = (f"{comparison['value']:g}", *map(in_short, rows))
        for line in (names, cells) if header else (cells,):
            first, *others = line
            columns = "  ".join(f"{each:{WIDTH}}" for each in others)
            print(f"    {first:16}  {columns}".rstrip())
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        words = in_words(row, comparison.get("speed"))
        print(f"    {row['name']:{width}}  {words}")
    for name, value in comparison["checks"].items():
        print(f"    {name}: {value:.2g}")


def in_words(row, speed=None):
    """A row of `compared` as a line."""
    if "note" in row:
        return row["note"]
    words = [f"{between(row['spread'])} s"]
    if "ratio" in row:
        words.append(f"ratio {between(row['ratio'])}")
    if speed:
        words.append(f"{speed.replace('_', ' ')} {row[speed]:.3g}")
    if "peak_bytes" in row:
        words.append(f"peak {row['peak_bytes'] / 2**20:.0f} MiB")
    return ", ".join(words)


def in_short(row):
    """A row of `compared` as the cell of a table."""
    if "note" in row:
        return row["note"]
    words = between(row["spread"])
    if "ratio" in row:
        words += f" x {row['ratio']['median']:.3g}"
    if "peak_bytes" in row:
        words += f", {row['peak_bytes'] / 2**20:.0f} MiB"
    return words


def between(values):
    """A spread as text.

    Example
    -------
    >>> between({"median": 2.0, "min": 1.0, "max": 30.25})
    '2 (1 to 30.2)'
    """
    least, most = values["min"], values["max"]
    return f"{values['median']:.3g} ({least:.3g} to {most:.3g})"
