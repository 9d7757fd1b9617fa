"""What microphones and sound cards add below speech: an offset, and rumble.

Nobody hears it, but it decides a recording's level, its loudest bins and what
a separator makes of it. 50 Hz hum can be heard, and stays.
"""

import functools

import numpy as np

STOP, PASS = 20.0, 50.0  # Hz: what goes, and what stays
ATTENUATION = 60.0  # dB below STOP


def without_rumble(samples, rate):
    """Take the offset and what is below some 35 Hz off a signal.

    A linear-phase filter: what stays is not shifted, and signals without
    rumble change by less than -60 dB.

    Arguments
    ---------
    samples : numpy.ndarray, [..., T]
        Floating point.
    rate : int
        Samples per second.

    Returns
    -------
    numpy.ndarray, [..., T]
        Of the same type.

    Example
    -------
    >>> hum = np.sin(2 * np.pi * 60 * np.arange(8000) / 8000)
    >>> error = without_rumble(hum + 0.5, 8000) - hum
    >>> bool(np.abs(error[500:-500]).max() < 2e-3)
    True
    """
    if not samples.shape[-1]:
        return samples
    half = len(high_pass_taps(rate)) // 2
    return _filtered(_extended(samples, half, half), rate)


def stream_without_rumble(blocks, rate):
    """`without_rumble` of a stream.

    Arguments
    ---------
    blocks : iterable of numpy.ndarray, each [any number of samples]
    rate : int
        Samples per second.

    Yields
    ------
    numpy.ndarray, [any number of samples]
        As many samples in all as were taken.
    """
    half = len(high_pass_taps(rate)) // 2
    begun, held = False, np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        if not begun and len(held) > half:
            held, begun = _extended(held, half, 0), True
        if begun and len(held) > 4 * half:  # seldom enough to be fast
            yield _filtered(held, rate)
            held = held[-2 * half :]
    if not begun:
        yield without_rumble(held, rate)
    else:
        yield _filtered(_extended(held, 0, half), rate)


def _extended(samples, before, after):
    """A signal that goes on at its ends in its mirror image: so an offset
    does not end there.
    """
    sides = [(0, 0)] * (samples.ndim - 1)
    return np.pad(samples, [*sides, (before, after)], mode="symmetric")


def _filtered(samples, rate):
    """A signal [..., T + taps - 1] through the filter: [..., T]."""
    import scipy.signal  # a second to import

    taps = high_pass_taps(rate).reshape((1,) * (samples.ndim - 1) + (-1,))
    done = scipy.signal.oaconvolve(samples, taps, mode="valid", axes=-1)
    return done.astype(samples.dtype, copy=False)


@functools.cache
def high_pass_taps(rate):
    """The taps of the high-pass filter, an odd number, float64, sum 0."""
    import scipy.signal

    width = (PASS - STOP) / (rate / 2)
    count, beta = scipy.signal.kaiserord(ATTENUATION, width)
    middle = count // 2
    taps = -scipy.signal.firwin(
        2 * middle + 1, (STOP + PASS) / 2, window=("kaiser", beta), fs=rate
    )
    taps[middle] += 1
    return taps
