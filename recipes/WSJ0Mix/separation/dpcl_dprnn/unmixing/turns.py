"""Who speaks when, told from the levels of separated voices."""

import typing

import numpy as np
import scipy.ndimage

FRAME = 0.02  # seconds
SMOOTH = 5  # frames
RANGE = 18.0  # dB below its usual level that a voice speaks at
LEAK = 7.0  # dB below the loudest of the moment: what another leaves in it
FLOOR = 6.0  # dB above its quietest tenth
PAUSE = 0.3  # seconds; a shorter one is no end
SHORTEST = 0.2  # seconds of a turn
TINY = 1e-12


class Turn(typing.NamedTuple):
    """A stretch in which a voice speaks."""

    voice: int  # from 0 on
    start: float  # seconds
    end: float


class Activity:
    """Takes the levels of voices that pass by, a block at a time.

    Arguments
    ---------
    rate : int
        Samples per second.

    Example
    -------
    >>> tone = np.float32(np.sin(np.arange(16000)))
    >>> tone[4000:8000] = 0
    >>> activity = Activity(rate=8000)
    >>> for block in activity.watched([tone[None, :9000], tone[None, 9000:]]):
    ...     pass
    >>> activity.turns()
    [Turn(voice=0, start=0.0, end=0.54), Turn(voice=0, start=0.96, end=2.0)]
    """

    def __init__(self, rate):
        self.rate = rate
        self.frame = max(1, round(FRAME * rate))  # samples
        self.length = 0  # samples
        self.powers = []  # of the blocks, [C, frames] each
        self.rest = None  # of the last block, [C, less than a frame]

    def watched(self, blocks):
        """Yield the blocks, each numpy.ndarray [C, T], as they are."""
        for block in blocks:
            self.length += block.shape[1]
            if self.rest is not None:
                whole = np.concatenate([self.rest, block], axis=1)
            else:
                whole = block
            end = whole.shape[1] // self.frame * self.frame
            self._take(whole[:, :end])
            self.rest = whole[:, end:].copy()
            yield block

    def _take(self, samples):
        """Keep the mean powers of whole frames."""
        count = samples.shape[1] // self.frame
        frames = samples.reshape(len(samples), count, self.frame)
        self.powers.append(np.square(frames).mean(axis=2))

    def turns(self):
        """Who spoke when, in what has passed.

        A voice speaks in a frame that is not far below its usual level, above
        its own noise, and louder than what a louder voice may have left in
        it.

        Returns
        -------
        list of Turn
            By their starts.
        """
        powers = np.concatenate(self.powers, axis=1)
        if not powers.size:
            return []
        powers = scipy.ndimage.uniform_filter1d(
            powers.astype(np.float64), SMOOTH, axis=1, mode="nearest"
        )
        levels = 10 * np.log10(powers + TINY)
        loudest = levels.max(axis=0)
        found = []
        for voice, level in enumerate(levels):
            leading = level[level == loudest]
            usual = np.percentile(leading if leading.size else level, 90)
            audible = level > max(
                usual - RANGE, min(np.percentile(level, 10) + FLOOR, usual - 10)
            )
            audible &= (level > loudest - LEAK) & (level > 10 * np.log10(TINY))
            for start, end in _stretches(audible):
                times = np.array([start, end]) * self.frame / self.rate
                found.append(Turn(voice, *times.round(3).tolist()))
        return sorted(found, key=lambda turn: (turn.start, turn.voice))


def _stretches(active):
    """Where frames are active: first and one past the last, gaps bridged."""
    edges = np.flatnonzero(np.diff(active, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    kept = starts[1:] - ends[:-1] >= PAUSE / FRAME
    starts = starts[np.r_[True, kept]] if len(starts) else starts
    ends = ends[np.r_[kept, True]] if len(ends) else ends
    long = ends - starts >= SHORTEST / FRAME
    return zip(starts[long].tolist(), ends[long].tolist(), strict=True)


def rttm(turns, name):
    """The turns in the Rich Transcription Time Marked format of NIST.

    Arguments
    ---------
    turns : list of Turn
    name : str
        Of the recording; blanks, which divide fields, become underscores.

    Returns
    -------
    str
        A line for each turn.

    Example
    -------
    >>> print(rttm([Turn(0, 0.5, 2.25)], "my talk"), end="")
    SPEAKER my_talk 1 0.500 1.750 <NA> <NA> s1 <NA> <NA>
    """
    name = "_".join(name.split()) or "_"
    return "".join(
        f"SPEAKER {name} 1 {start:.3f} {end - start:.3f} <NA> <NA> "
        f"s{voice + 1} <NA> <NA>\n"
        for voice, start, end in turns
    )
