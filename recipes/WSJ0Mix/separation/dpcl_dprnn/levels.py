"""How loud speech is."""

import numpy as np


def active_level(samples, rate):
    """Mean power of speech without its pauses.

    The mean over those 20 ms frames that are at most 40 dB below the loudest
    frame. A simple stand-in for the active speech level of ITU-T P.56.

    Arguments
    ---------
    samples : numpy.ndarray, [T]
        Speech.
    rate : int
        Samples per second.

    Returns
    -------
    float
        Power; 0 for silence.

    Example
    -------
    >>> tone = np.sin(0.1 * np.pi * np.arange(8000))
    >>> speech = np.concatenate([tone, np.zeros(8000)])
    >>> round(active_level(speech, rate=8000), 6)
    0.5
    """
    frame = max(1, min(rate // 50, len(samples)))
    count = len(samples) // frame
    frames = np.asarray(samples[: count * frame], dtype=np.float64)
    power = np.square(frames.reshape(count, frame)).mean(axis=1)
    return float(power[power >= 1e-4 * power.max()].mean())
