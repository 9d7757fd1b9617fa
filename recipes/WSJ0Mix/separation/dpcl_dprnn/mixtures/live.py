"""Mixtures made on the fly, each a pure function of a seed and its number."""

import dataclasses
import pathlib

import numpy as np
import torch

from ..common.audio import resample
from .conditions import (
    CODECS,
    in_noise,
    in_room,
    telephone_band,
    through_codec,
)
from .rendering import PEAK

PAUSE = 0.01  # of the active level: a piece with less has no speech in it
TRIES = 50  # to find a piece with speech, in recordings with long pauses
LONGEST_STEM = 32  # bytes; five of them still fit in a file's name


@dataclasses.dataclass(frozen=True)
class Mixer:
    """How mixtures are drawn.

    Arguments
    ---------
    speech : SpeechStore or JoinedStores
        The utterances.
    num_spks : int
        Rows of the sources, C.
    speakers : tuple of int
        Numbers of speakers in a mixture, of which each is as likely.
    crop : int, optional
        The most samples of a mixture; by default whole utterances are mixed.
    speeds : tuple of int
        Speeds of the sources to draw from, in percent.
    gain_db : float
        The first source is 0 to this louder than its active level, the
        second as much quieter, the others are as they are. 2.5 in wsj0-mix.
    overlap : tuple of float
        Range to draw the ratio from by which a speaker and the next one
        overlap in time. (1, 1) is full overlap, as in wsj0-mix; below 0 is
        a pause.
    noise : SpeechStore, optional
        Noises to add a piece of.
    snr_db : tuple of float
        Range of the ratio of the speech to the noise.
    noise_probability : float
        Share of the mixtures that have noise.
    rooms : SpeechStore, optional
        Impulse responses, one of which each source is heard through.
    room_probability : float
        Share of the mixtures that are heard in rooms.
    room_target : int, optional
        Samples after the direct sound that sources have of rooms; by default
        all.
    telephone_probability : float
        Share of the mixtures, with their sources, in a telephone's band.
    codec_probability : float
        Share of the mixtures that were coded; the sources are as before.
    """

    speech: object
    num_spks: int = 2
    speakers: tuple = (2,)
    crop: int | None = None
    speeds: tuple = (100,)
    gain_db: float = 2.5
    overlap: tuple = (1.0, 1.0)
    noise: object = None
    snr_db: tuple = (0.0, 20.0)
    noise_probability: float = 1.0
    rooms: object = None
    room_probability: float = 1.0
    room_target: int | None = None
    telephone_probability: float = 0.0
    codec_probability: float = 0.0

    def draw(self, groups, rng, chances=None):
        """Draw a mixture.

        Speakers are drawn first, then an utterance of each: the number of
        voices heard does not suffer from a few who say much.

        Arguments
        ---------
        groups : list of list of int
            The utterances of each speaker.
        rng : numpy.random.Generator
            Source of all randomness.
        chances : numpy.ndarray, optional
            Of each speaker to be drawn first, summing to 1; by default all
            are as likely.

        Returns
        -------
        mixture : numpy.ndarray, [T]
            float32.
        sources : numpy.ndarray, [T, C]
            float32, silent from the number of speakers on. They sum to the
            mixture, save for noise, what rooms add to them, and codecs.
        name : str
            What was mixed, like the files of wsj0-mix; long names are cut.
        """
        count = int(rng.choice(self.speakers))
        talkers = rng.choice(len(groups), count, replace=False, p=chances)
        chosen = [
            groups[talker][rng.integers(len(groups[talker]))]
            for talker in talkers
        ]
        speeds = rng.choice(self.speeds, count)
        gain = rng.uniform(0, self.gain_db)
        gains = [gain, -gain, *[0.0] * (count - 2)][:count]
        duration, shift = self._timing(chosen, speeds, rng)
        in_rooms = self.rooms is not None and happens(
            self.room_probability, rng
        )
        total = duration + (count - 1) * shift
        sources = np.zeros((self.num_spks, total), np.float32)
        mixture = np.zeros(total, np.float32)
        for place, (row, utterance, speed, decibels) in enumerate(
            zip(sources, chosen, speeds, gains, strict=False)
        ):
            heard = found = self._piece(utterance, speed, duration, rng)
            if in_rooms:
                response = self.rooms.read(int(rng.integers(len(self.rooms))))
                heard, found = in_room(heard, response, self.room_target)
            factor = (
                10 ** (decibels / 20) / self.speech.levels[utterance] ** 0.5
            )
            spoken = slice(place * shift, place * shift + duration)
            row[spoken] = found * factor
            mixture[spoken] += (heard * factor).astype(np.float32)
        if self.noise is not None and happens(self.noise_probability, rng):
            ratio = rng.uniform(*self.snr_db)
            mixture = in_noise(mixture, self._noise(total, rng), ratio)
        rate = self.speech.rate
        if happens(self.telephone_probability, rng):
            both = telephone_band(np.vstack([mixture, sources]), rate, rng)
            mixture, sources = both[0], both[1:]
        peak = max(np.abs(sources).max(), np.abs(mixture).max())
        factor = np.float32(PEAK / (peak or 1.0))
        mixture, sources = mixture * factor, sources * factor
        if happens(self.codec_probability, rng):
            codec = rng.choice(list(CODECS))
            mixture = through_codec(mixture, rate, codec, rng)
        name = "_".join(
            f"{_stem(self.speech.names[u])}_{g:.4f}"
            for u, g in zip(chosen, gains, strict=True)
        )
        return mixture, sources.T.copy(), name

    def _timing(self, chosen, speeds, rng):
        """Samples that each speaks, and until the next one begins."""
        duration = min(
            -(-int(self.speech.lengths[utterance]) * 100 // int(speed))
            for utterance, speed in zip(chosen, speeds, strict=True)
        )
        lag = 1 - rng.uniform(*self.overlap)  # in durations
        if self.crop is not None:
            whole = 1 + (len(chosen) - 1) * lag
            duration = min(duration, int(self.crop / whole))
        return duration, int(lag * duration)  # never beyond the crop

    def _piece(self, utterance, speed, duration, rng):
        """A random piece of an utterance that is not all pause, at its
        speed.
        """
        length = min(
            -(-duration * int(speed) // 100), self.speech.lengths[utterance]
        )
        quiet = PAUSE * self.speech.levels[utterance] * length
        for _ in range(TRIES):
            start = rng.integers(self.speech.lengths[utterance] - length + 1)
            piece = self.speech.read(utterance, start, length)
            if piece @ piece > quiet:
                break
        return resample(piece, int(speed), 100)[:duration]

    def _noise(self, length, rng):
        """A random piece of noise, as long as there is some."""
        number = int(rng.integers(len(self.noise)))
        spare = max(0, int(self.noise.lengths[number]) - length)
        return self.noise.read(number, int(rng.integers(spare + 1)), length)


def happens(probability, rng):
    """Whether something happens; for what is certain nothing is drawn."""
    if probability in (0, 1):
        return bool(probability)
    return rng.random() < probability


def _stem(name):
    """The beginning of an utterance's name, without folder and suffix."""
    stem = pathlib.PurePath(name).stem.encode()
    return stem[:LONGEST_STEM].decode(errors="ignore")


@dataclasses.dataclass(eq=False)
class DynamicMixtures(torch.utils.data.Dataset):
    """A set of mixtures that are made when they are asked for.

    The item of an index is a pure function of the seed, the epoch and the
    index: it is the same in any worker, on any process and after a resumed
    run. Another epoch has other mixtures.

    Arguments
    ---------
    mixer : Mixer
        How they are drawn.
    groups : list of list of int
        The utterances of each speaker.
    count : int
        Mixtures in an epoch.
    seed : list of int
        The seed.
    epoch_counter : object, optional
        Its `current` is the number of the epoch; without, every epoch has
        the same mixtures.
    chances : callable, optional
        Of the number of epochs gone by, to the `chances` of `Mixer.draw`.
    """

    mixer: Mixer
    groups: list
    count: int
    seed: list
    epoch_counter: object = None
    chances: object = None

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        """`id`, `mixture` [T] and `sources` [T, C], float32."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        counter = self.epoch_counter
        epoch = 0 if counter is None else counter.current
        rng = np.random.default_rng([*self.seed, epoch, index])
        chances = None
        if self.chances is not None:
            chances = self.chances(max(0, epoch - 1))
        mixture, sources, name = self.mixer.draw(self.groups, rng, chances)
        return {
            "id": f"{epoch}-{index}_{name}",
            "mixture": torch.from_numpy(mixture),
            "sources": torch.from_numpy(sources),
        }
