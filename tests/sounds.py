"""Noise, and sound files of it."""

import numpy as np
import soundfile

RATE = 8000


def noise(length, channels=None, seed=0):
    """Noise [T] or [T, channels], float32."""
    shape = length if channels is None else (length, channels)
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(shape)).astype(np.float32)


def write(path, samples, rate=RATE, subtype="FLOAT"):
    """Write a sound file, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path
