"""Who speaks when, told from the levels of separated voices."""

import typing

import numpy as np
import scipy.ndimage

FRAME = 0.02  # seconds
SMOOTH = 5  # frames
RANGE = 18.0  # dB below its usual level that a voice speaks at
LEAK = 12.0  # dB below the loudest of the moment: what another leaves in it
FLOOR = 6.0  # dB above its quietest tenth
PAUSE = 0.3  # seconds; a shorter one is no end
SHORTEST = 0.2  # seconds of a turn
QUIETEST = 25.0  # dB below the usual level of the loudest voice: nobody
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
        self.powers = []  # of the blocks, [C, frames] each
        self.rest = None  # of the last block, [C, less than a frame]

    def watched(self, blocks):
        """Yield the blocks, each numpy.ndarray [C, T], as they are."""
        for block in blocks:
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

        A voice speaks in a frame that is not far below its usual level, nor
        below that of the loudest voice, above its own noise, and louder than
        what a louder voice may have left in it.

        Returns
        -------
        list of Turn
            By their starts.
        """
        powers = np.concatenate(self.powers, axis=1) if self.powers else []
        if not np.size(powers) or not powers.max():
            return []
        powers = scipy.ndimage.uniform_filter1d(
            powers.astype(np.float64), SMOOTH, axis=1, mode="nearest"
        )
        levels = 10 * np.log10(np.maximum(powers, TINY))
        loudest = levels.max(axis=0)
        usual = []  # of each voice, where it is the loudest
        for level in levels:
            leading = level[level == loudest]
            usual.append(np.percentile(leading if leading.size else level, 90))
        least = max(*usual, 10 * np.log10(TINY) + QUIETEST) - QUIETEST
        found, seconds = [], self.frame / self.rate
        for voice, level in enumerate(levels):
            noise = min(np.percentile(level, 10) + FLOOR, usual[voice] - 10)
            speaks = level > max(usual[voice] - RANGE, noise, least)
            speaks &= level > loudest - LEAK
            for start, end in _stretches(speaks, seconds):
                times = round(start * seconds, 3), round(end * seconds, 3)
                found.append(Turn(voice, *times))
        return sorted(found, key=lambda turn: (turn.start, turn.voice))


def _stretches(speaks, seconds):
    """The first frame of each stretch and one past its last, of frames of so
    many seconds; short pauses are bridged, and short stretches left out.
    """
    edges = np.flatnonzero(np.diff(speaks, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    if len(starts):
        apart = (starts[1:] - ends[:-1]) * seconds >= PAUSE
        starts, ends = starts[np.r_[True, apart]], ends[np.r_[apart, True]]
    long = (ends - starts) * seconds >= SHORTEST
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
