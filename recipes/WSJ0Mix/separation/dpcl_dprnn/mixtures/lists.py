"""Who speaks over whom, and how loud: drawing and reading such lists.

A mixture is a list of (path, gain in dB), one for each speaker. A line of an
official wsj0-mix list is `path gain path gain`.
"""

import pathlib

import numpy as np

from ..common.errors import UserError

MAX_GAIN = 2.5  # dB up for one speaker and down for another: 0 to 5 dB apart
DRAWS = 20  # tries before a set of utterances may come a second time
LOUDEST = 60  # dB, up or down; what is beyond it in a list is a mistake


def draw_mixtures(utterances_by_speaker, count, n_spks, rng):
    """Draw who speaks over whom, and how loud, as in wsj0-mix: so many
    mixtures of `{speaker: [path, ...]}`, a list of (path, gain in dB) each.

    The speakers of a mixture differ, every utterance is used about equally
    often, and a set of utterances comes twice only where there are too few.
    The first speaker has a gain of 0 to 2.5 dB, the second the opposite and
    the others 0 dB.

    Example
    -------
    >>> speech = {"ann": ["ann/1.wav"], "bob": ["bob/1.wav"]}
    >>> mixture, = draw_mixtures(speech, 1, 2, np.random.default_rng(1))
    >>> format_mixture(mixture)
    'ann/1.wav 2.3716 bob/1.wav -2.3716'
    """
    paths = [path for each in utterances_by_speaker.values() for path in each]
    sizes = [len(each) for each in utterances_by_speaker.values()]
    owners = np.repeat(np.arange(len(sizes)), sizes)
    uses = np.zeros(len(paths))
    mixtures, sets, names = [], set(), set()
    for _ in range(count):
        for attempt in range(1, DRAWS + 1):
            # Least used first; each retry looks further from the minimum.
            order = uses + attempt * rng.random(len(uses))
            chosen = _first_of_each(owners, order, n_spks)
            if frozenset(chosen) not in sets:
                break
        uses[chosen] += 1
        sets.add(frozenset(chosen))
        chosen = [paths[index] for index in rng.permutation(chosen)]
        # Speakers may share file names, so only the gains tell them apart.
        mixture = _with_gains(chosen, rng)
        while mixture_name(mixture) in names:
            mixture = _with_gains(chosen, rng)
        names.add(mixture_name(mixture))
        mixtures.append(mixture)
    return mixtures


def _first_of_each(owners, order, n_spks):
    """The `n_spks` lowest in `order`, no two of one owner."""
    chosen = []
    for _ in range(n_spks):
        chosen.append(int(order.argmin()))
        order[owners == owners[chosen[-1]]] = np.inf
    return chosen


def _with_gains(paths, rng):
    gain = float(f"{rng.uniform(0, MAX_GAIN):.5g}")
    gains = [gain, -gain] + [0.0] * (len(paths) - 2)
    return list(zip(paths, gains, strict=True))


def format_mixture(mixture):
    """A mixture as a line of the official lists, `path gain path gain`."""
    return " ".join(f"{path} {gain:.5g}" for path, gain in mixture)


def mixture_name(mixture):
    """The official file name of a mixture, without suffix.

    Example
    -------
    >>> mixture_name([("a/40na010x.wav", 1.9857), ("b/01xo031a.wav", -1.9857)])
    '40na010x_1.9857_01xo031a_-1.9857'
    """
    stems = [(pathlib.PurePath(path).stem, gain) for path, gain in mixture]
    return "_".join(f"{stem}_{gain:.5g}" for stem, gain in stems)


def read_list(path, n_spks=None):
    """Read a list in the official format, `path gain path gain ...` on each
    line, into mixtures as `draw_mixtures` makes them.

    Raises
    ------
    UserError
        When the file cannot be read or a line does not fit the format or the
        number of speakers, where that is given, or has a gain beyond 60 dB.
    """
    mixtures = []
    for number, line in enumerate(read_lines(path), 1):
        paths, gains = line.split()[::2], line.split()[1::2]
        try:
            mixture = list(zip(paths, map(float, gains), strict=True))
        except ValueError:
            mixture = []
        # NaN is not within it either
        if not mixture or not all(abs(gain) <= LOUDEST for _, gain in mixture):
            raise UserError(
                f"{path}, line {number}, is not 'path gain path gain ...' with "
                f"gains within {LOUDEST} dB. Correct it."
            )
        if n_spks not in (None, len(mixture)):
            raise UserError(
                f"{path}, line {number}, has {len(mixture)} speakers, but "
                f"{n_spks} are expected. Correct n_spks or the list."
            )
        mixtures.append(mixture)
    return mixtures


def read_lines(path):
    """The lines of a text file, or a `UserError` that names it."""
    try:
        return pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {path}: {error}.") from error
