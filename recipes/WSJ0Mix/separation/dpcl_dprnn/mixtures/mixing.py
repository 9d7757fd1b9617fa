"""The arithmetic of wsj0-mix: from utterances to a mixture."""

import math

import numpy as np

PEAK = 0.9  # of the loudest of a mixture and its sources


def mix_sources(sources, levels, gains_db, mode="min"):
    """Mix utterances by the rule of wsj0-mix.

    Each source is brought to an active level of 1, then to its gain; all are
    cut or padded to one length and scaled together, so that the largest peak
    of the mixture and the sources is 0.9. Each is then rounded to 16 bits on
    its own, as the MATLAB scripts of wsj0-mix do; hence the sources sum to
    the mixture within half a step for each of them and one for the mixture.

    Arguments
    ---------
    sources : list
        Utterances, numpy.ndarray [T] each, of any lengths, none silent.
    levels : list
        The active level of each, see `levels.active_level`.
    gains_db : list
        The level that each is to have, in dB.
    mode : str
        `min` cuts all to the shortest, `max` pads with zeros to the longest.

    Returns
    -------
    mixture : numpy.ndarray, [T]
        int16.
    sources : numpy.ndarray, [C, T]
        int16.

    Example
    -------
    >>> noise = np.random.default_rng(0).standard_normal((2, 8000))
    >>> mixture, sources = mix_sources(list(noise), [1.0, 1.0], [2.0, -2.0])
    >>> int(np.abs(mixture).max())
    29491
    >>> int(np.abs(mixture - sources.sum(axis=0)).max())
    1
    """
    lengths = [len(source) for source in sources]
    length = min(lengths) if mode == "min" else max(lengths)
    scaled = np.zeros((len(sources), length))
    for row, source, level, gain in zip(
        scaled, sources, levels, gains_db, strict=True
    ):
        factor = 10 ** (gain / 20) / math.sqrt(level)
        row[: len(source)] = source[:length] * factor
    mixture = scaled.sum(axis=0)
    peak = max(np.abs(scaled).max(), np.abs(mixture).max())
    # A peak of 0: every source begins with a pause longer than the cut.
    factor = PEAK * 32768 / (peak or 1.0)
    mixture, scaled = (
        np.round(x * factor).astype(np.int16) for x in (mixture, scaled)
    )
    return mixture, scaled
