"""Mixtures made on the fly, each a pure function of a seed and its number."""

import collections.abc
import dataclasses
import pathlib

import numpy as np
import torch

from ..sound.audio import resample
from .conditions import CODECS, in_noise, in_room, telephone_band, through_codec
from .rendering import PEAK

PAUSE = 0.01  # of the active level: a piece with less has no speech in it
TRIES = 50  # to find a piece with speech, in recordings with long pauses
LONGEST_STEM = 32  # bytes; five of them still fit in a file's name


@dataclasses.dataclass(frozen=True)
class Mixer:
    """How mixtures are drawn."""

    speech: object  # SpeechStore or JoinedStores of the utterances
    num_spks: int = 2  # rows of the sources, C
    speakers: tuple = (2,)  # numbers of speakers, of which each is as likely
    crop: int | None = None  # most samples of a mixture; None: all there are
    speeds: tuple = (100,)  # percent, of which each source has one
    # The first source is 0 to this many dB louder than its active level, the
    # second as much quieter, the others are as they are: 2.5 in wsj0-mix
    gain_db: float = 2.5
    # Range of the ratio by which a speaker and the next one overlap in time:
    # 1 is full overlap, as in wsj0-mix; below 0 is a pause
    overlap: tuple = (1.0, 1.0)
    noise: object = None  # store of noises to add a piece of
    snr_db: tuple = (0.0, 20.0)  # range of the ratio of the speech to the noise
    noise_probability: float = 1.0  # share of the mixtures that have noise
    rooms: object = None  # store of impulse responses, one for each source
    room_probability: float = 1.0  # share of the mixtures heard in rooms
    # Samples after the direct sound that sources have of rooms; None: all
    room_target: int | None = None
    telephone_probability: float = 0.0  # share, with sources, of that band
    codec_probability: float = 0.0  # share coded; the sources are as before
    same_folder: float = 0.0  # share drawn of one folder, at least

    def draw(self, groups, rng, chances=None, folders=None):
        """Draw a mixture, of groups of utterances, one for each speaker.

        Speakers are drawn first, each by its chance (by default alike), then an
        utterance of each: the number of voices heard does not suffer from a few
        who say much. `folders` is the folder of each speaker, as a number: where
        all are to be of one, it is drawn before, by its speakers' chances.

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
        if folders is not None and happens(self.same_folder, rng):
            near = folders == folders[rng.choice(len(groups), p=chances)]
            chances = near * (1.0 if chances is None else chances)
            chances = chances / chances.sum()
        talkers = rng.choice(len(groups), count, replace=False, p=chances)
        groups = [groups[talker] for talker in talkers]
        chosen = [group[rng.integers(len(group))] for group in groups]
        speeds = rng.choice(self.speeds, count)
        gain = rng.uniform(0, self.gain_db)
        gains = [gain, -gain, *[0.0] * (count - 2)][:count]
        duration, shift = self._timing(chosen, speeds, rng)
        in_rooms = self.rooms and happens(self.room_probability, rng)
        total = duration + (count - 1) * shift
        sources = np.zeros((self.num_spks, total), np.float32)
        mixture = np.zeros(total, np.float32)
        for place, utterance in enumerate(chosen):
            speed, decibels = speeds[place], gains[place]
            heard = found = self._piece(utterance, speed, duration, rng)
            if in_rooms:
                response = self.rooms.read(int(rng.integers(len(self.rooms))))
                heard, found = in_room(heard, response, self.room_target)
            level = self.speech.levels[utterance]
            factor = 10 ** (decibels / 20) / level**0.5
            spoken = slice(place * shift, place * shift + duration)
            sources[place, spoken] = found * factor
            mixture[spoken] += (heard * factor).astype(np.float32)
        if self.noise and happens(self.noise_probability, rng):
            ratio = rng.uniform(*self.snr_db)
            number = int(rng.integers(len(self.noise)))
            spare = max(0, int(self.noise.lengths[number]) - total)
            start = int(rng.integers(spare + 1))
            noise = self.noise.read(number, start, total)
            mixture = in_noise(mixture, noise, ratio)
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
        """A random piece of an utterance with speech, at its speed."""
        whole = self.speech.lengths[utterance]
        length = min(-(-duration * int(speed) // 100), whole)
        quiet = PAUSE * self.speech.levels[utterance] * length
        for _ in range(TRIES):
            start = rng.integers(whole - length + 1)
            piece = self.speech.read(utterance, start, length)
            if piece @ piece > quiet:
                break
        return resample(piece, int(speed), 100)[:duration]


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
    """

    mixer: Mixer
    groups: list  # the utterances of each speaker, as numbers
    count: int  # mixtures in an epoch
    seed: list  # of numbers
    # Its `current` is the number of the epoch; without, all epochs are alike
    epoch_counter: object = None
    # Of the number of epochs gone by, to the `chances` of `Mixer.draw`
    chances: collections.abc.Callable | None = None
    folders: np.ndarray | None = None  # of each speaker, as a number

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        """`id`, `mixture` [T] and `sources` [T, C], float32."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        epoch = self.epoch_counter.current if self.epoch_counter else 0
        rng = np.random.default_rng([*self.seed, epoch, index])
        chances = self.chances and self.chances(max(0, epoch - 1))
        mixture, sources, name = self.mixer.draw(
            self.groups, rng, chances, self.folders
        )
        return {
            "id": f"{epoch}-{index}_{name}",
            "mixture": torch.from_numpy(mixture),
            "sources": torch.from_numpy(sources),
        }
