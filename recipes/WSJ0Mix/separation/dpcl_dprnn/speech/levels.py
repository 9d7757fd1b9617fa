"""How loud speech is."""

import numpy as np

LEVEL_RATE = 8000  # Hz; where the published levels were measured, and ours are
TIME_CONSTANT = 0.03  # seconds; T of the envelope
HANGOVER = 0.2  # seconds; H, pauses up to which count as speech
MARGIN = 15.9  # dB; M, the threshold lies so far below the active level
OCTAVES = 40  # thresholds, each half the one before: 240 dB


def active_level(samples, rate):
    """Active speech level: the mean power of speech without its pauses.

    Method B of ITU-T P.56. An envelope with a time constant of 30 ms is
    compared with thresholds 6 dB apart; what lies above one, and up to 0.2 s
    after, is active there. The level is the energy over the active time, at
    the threshold (interpolated) that is 15.9 dB below that level. It does
    not depend on the full scale, as the standard's thresholds go on below 16
    bits here.

    Arguments
    ---------
    samples : numpy.ndarray, [T]
    rate : int
        Samples per second.

    Returns
    -------
    float
        Mean square of the active samples; 0 for silence.

    Example
    -------
    >>> speech = np.pad(np.sin(0.1 * np.pi * np.arange(80000)), (0, 80000))
    >>> decibels = 10 * np.log10(active_level(speech, rate=8000) / 0.5)
    >>> round(float(decibels), 1)
    -0.1
    """
    import scipy.ndimage
    import scipy.signal

    samples = np.asarray(samples, dtype=np.float64)
    energy = float(samples @ samples)
    if energy == 0:
        return 0.0
    pole = np.exp(-1 / (rate * TIME_CONSTANT))
    envelope = scipy.signal.lfilter(
        [(1 - pole) ** 2], [1, -2 * pole, pole**2], np.abs(samples)
    )
    # A sample is above the threshold 2^k if its exponent is k or more, and
    # active if that of one in the last 0.2 s is.
    exponents = np.frexp(envelope)[1] - 1
    highest = int(exponents[envelope > 0].max())
    lowest = highest - OCTAVES
    exponents[(envelope <= 0) | (exponents < lowest)] = lowest
    hangover = round(HANGOVER * rate)
    exponents = scipy.ndimage.maximum_filter1d(
        exponents, hangover + 1, origin=hangover // 2, mode="nearest"
    )
    counts = np.bincount(exponents - lowest, minlength=OCTAVES + 1)
    active = counts[::-1].cumsum()[::-1]  # samples, for each threshold
    levels = 10 * np.log10(energy / active)
    thresholds = 20 * np.log10(2.0) * np.arange(lowest, highest + 1)
    return float(10 ** (_at_margin(levels, levels - thresholds) / 10))


def _at_margin(levels, margins):
    """The level where the margin, which falls from left to right, is M."""
    index = int(np.argmax(margins <= MARGIN))
    if margins[index] > MARGIN:  # a click: its envelope is far below it
        return levels[-1]
    if index == 0:
        return levels[0]
    steps = margins[index - 1 : index + 1]
    part = (steps[0] - MARGIN) / (steps[0] - steps[1])
    return levels[index - 1] + part * (levels[index] - levels[index - 1])
