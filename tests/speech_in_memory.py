"""Speech in memory and in a store, and mixtures of it, for tests."""

import types

import numpy as np
import soundfile

from dpcl_dprnn.mixtures.live import DynamicMixtures, Mixer
from dpcl_dprnn.speech.store import open_store

RATE = 8000


class Sounds:
    """A store of signals in memory, `name: samples`."""

    rate = RATE

    def __init__(self, **signals):
        self.names = [f"{name}.wav" for name in signals]
        self.signals = [np.float32(signal) for signal in signals.values()]
        self.lengths = np.array([len(signal) for signal in self.signals])
        self.levels = np.array([np.mean(s**2) or 1.0 for s in self.signals])

    def __len__(self):
        return len(self.names)

    def read(self, index, start=0, length=None):
        end = None if length is None else start + length
        return self.signals[index][start:end].copy()


def hiss(seed, length):
    """Noise of a loudness of its own, with a pause."""
    rng = np.random.default_rng(seed)
    samples = 0.01 * (1 + seed % 5) * rng.standard_normal(length)
    samples[length // 4 : length // 3] = 0
    return samples


def make_speech(folder):
    """Four speakers with two utterances each, as training has them."""
    names = [f"u{number}.wav" for number in range(8)]
    for number, name in enumerate(names):
        samples = hiss(number, 4000 + 300 * number)
        soundfile.write(folder / name, samples, RATE, subtype="FLOAT")
    return open_store(folder, names, RATE, folder / "store", jobs=1)


GROUPS = [[0, 1], [2, 3], [4, 5], [6, 7]]


def mixtures(speech, count=12, epoch=1, seed=(1, 0), groups=None, **options):
    """A set of mixtures of one epoch."""
    return DynamicMixtures(
        Mixer(speech, **options),
        groups or GROUPS,
        count,
        seed,
        types.SimpleNamespace(current=epoch),
    )


def parts_of(name):
    """The utterances and gains that an ID tells."""
    _, *parts = name.split("_")
    return parts[::2], [float(gain) for gain in parts[1::2]]


def contents(items):
    """`{id: the bytes}`, none twice."""
    items = list(items)
    found = {
        item["id"]: (
            item["mixture"].numpy().tobytes(),
            item["sources"].numpy().tobytes(),
        )
        for item in items
    }
    assert len(found) == len(items)
    return found
