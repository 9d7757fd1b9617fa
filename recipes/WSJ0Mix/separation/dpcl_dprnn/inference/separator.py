"""Trained separators, ready to use, after SpeechBrain's pretrained models."""

import contextlib
import dataclasses
import logging
import re
import typing

import numpy as np
import torch
from speechbrain.inference.interfaces import Pretrained
from speechbrain.utils.autocast import AMPConfig
from speechbrain.utils.data_utils import split_path

from ..common.errors import UserError, first_line
from ..common.precision import use_tf32
from ..model.separator import load_weights
from ..sound.rumble import stream_without_rumble, without_rumble
from ..unmixing.expectation import Expectation
from ..unmixing.unmixer import Unmixer
from ..unmixing.windows import fit_overlap, separate_windows
from .loading import MODEL, find_files, load_hparams
from .model_folder import HPARAMS, WEIGHTS
from .recordings import (
    HIGHEST,
    FileRecording,
    SignalRecording,
    count_frames,
    resampled,
)

logger = logging.getLogger(__name__)

WINDOW = 30.0  # seconds; what is longer is separated in such windows
OVERLAP = 2.0  # seconds that a window shares with the next, at least
EAR = 3.0  # seconds of a piece to count the speakers of a long recording in
LISTEN = 24  # such pieces, spread over it
ENOUGH = 0.1  # of those with speech have to have so many speakers


@dataclasses.dataclass(frozen=True)
class Voices:
    """The voices of a recording."""

    waveforms: np.ndarray  # [C, T], float32, at the recording's rate
    rate: int  # samples per second
    confidence: float | None  # of their number; None where it was given
    expected_si_snr_i: float | None = None  # dB; None where nothing tells

    @property
    def count(self):
        """The number of voices, C."""
        return len(self.waveforms)


@dataclasses.dataclass(frozen=True)
class VoiceStream:
    """The voices of a recording, piece by piece."""

    rate: int  # samples per second
    count: int  # of voices, C
    confidence: float | None  # of their number; None where it was given
    blocks: typing.Iterable  # of [C, any number of samples], float32
    # Of the blocks that were taken
    expectation: Expectation = dataclasses.field(default_factory=Expectation)
    head: str = "masks"  # that made them

    def at_rate(self, wanted, recording):
        """The same at another rate, as long as the recording."""
        frames = count_frames(recording.frames, recording.rate, wanted)
        blocks = resampled(self.blocks, self.rate, wanted, frames)
        return dataclasses.replace(self, rate=wanted, blocks=blocks)


class SpeechSeparator(Pretrained):
    """Gives each of the people who talk at once on one microphone alone.

    As `speechbrain.inference.separation.SepformerSeparation`; but files may
    have any rate, channels and length, estimates have the mixture's level
    (and sum to it where the model has `mixture_consistency`), and their
    number may be found out.

    Example
    -------
    >>> separator = SpeechSeparator.from_hparams(
    ...     source="results/mini/model")  # doctest: +SKIP
    >>> separator.separate_batch(torch.randn(1, 400)).shape  # doctest: +SKIP
    torch.Size([1, 400, 2])
    """

    HPARAMS_NEEDED = ["num_spks", "sample_rate"]
    MODULES_NEEDED = ["separator"]

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        use_tf32(False)  # a GPU separates as exactly as a CPU
        self.unmixer = Unmixer.from_hparams(
            {**vars(self.hparams), "separator": self.mods.separator}
        )
        if self.precision != "fp32":
            self.mods.separator.inference_dtype = AMPConfig.from_name(
                self.precision
            ).dtype

    @classmethod
    def from_hparams(
        cls,
        source=MODEL,
        hparams_file=HPARAMS,
        overrides=None,
        savedir=None,
        safe=True,
        **kwargs,
    ):
        """Load a model folder, or one of the Hugging Face Hub.

        Arguments
        ---------
        source : str or Path
            The folder, as training leaves it in `output_folder`/model; or
            `user/name` on the Hub, where there is no such folder. By default
            the model of real voices that comes with the package.
        hparams_file : str
            The name of its HyperPyYAML file.
        overrides : dict, optional
            Keys of that file to set.
        savedir : str, optional
            Where to put what is fetched from the Hub; the cache by default.
        safe : bool
            Whether to refuse hyperparams that could run any program. Switch
            it off only for a folder that you trust as you trust a program.
        **kwargs
            Such as `run_opts={"device": "cuda", "precision": "bf16"}`, see
            SpeechBrain's `Pretrained`.

        Returns
        -------
        SpeechSeparator

        Raises
        ------
        UserError
            When a file is missing or damaged, or has a tag that is not safe.
        """
        with find_files(source, (hparams_file, WEIGHTS), savedir) as paths:
            hparams = load_hparams(paths[0], overrides, safe)
            separator = hparams["modules"]["separator"]
            load_weights(separator, paths[1], f"The model {source}")
        try:
            return cls(modules=hparams["modules"], hparams=hparams, **kwargs)
        except (RuntimeError, ValueError, AssertionError) as error:
            raise UserError(
                f"The model {source} cannot be set up: {first_line(error)}. "
                "Choose another device."
            ) from error

    @property
    def num_spks(self):
        """The most speakers that it was trained for, and that it counts."""
        return self.unmixer.num_spks

    @property
    def sample_rate(self):
        """The model's sampling rate in Hz."""
        return self.hparams.sample_rate

    @property
    def heads(self):
        """The heads that it has, of "masks" and "kmeans", the default first."""
        return self.unmixer.heads

    @property
    def counts(self):
        """Whether it can find out the number of speakers."""
        return bool(self.unmixer.speaker_counting)

    def separate_batch(self, mix, n_spks=None, head=None):
        """Separate a batch of mixtures, each as a whole.

        Arguments
        ---------
        mix : torch.Tensor, [B, T]
            At the model's sampling rate.
        n_spks : int or "auto", optional
            Voices to find; by default `num_spks`. k-means makes more of them.
        head : str, optional
            "masks" or "kmeans"; by default the first of `heads` that
            separates so many.

        Returns
        -------
        torch.Tensor, [B, T, C]
            With "auto" C is the largest number found in the batch, and the
            voices that others lack are silent.
        """
        if mix.dim() != 2 or not mix.numel():
            raise UserError(
                f"The mixtures have the shape {tuple(mix.shape)}; [batch, "
                "samples] is needed, at least one of each."
            )
        if not mix.isfinite().all():
            raise UserError("The mixtures have NaN or infinite samples.")
        n_spks, head = self.unmixer.check(n_spks, head)
        mix = mix.to(torch.float32)
        cleaned = without_rumble(mix.detach().cpu().numpy(), self.sample_rate)
        mix = torch.from_numpy(cleaned).to(self.device)
        unmixed = self.unmixer(list(mix), n_spks, head)
        count = max(len(each.voices) for each in unmixed)
        voices = mix.new_zeros(len(mix), count, mix.shape[1])
        for item, each in zip(voices, unmixed, strict=True):
            item[: len(each.voices)] = each.voices
        return voices.transpose(1, 2)

    def separate_file(
        self,
        path,
        savedir=None,
        n_spks=None,
        head=None,
        sample_rate=None,
        channel="mean",
    ):
        """Separate a sound file.

        Arguments
        ---------
        path : str or Path
            Of any rate, channels and length; a local path or a URL.
        savedir : str, optional
            Where to put what is fetched.
        n_spks, head
            As of `separate_batch`.
        sample_rate : int, optional
            Of the voices; that of the file by default.
        channel : int or "mean"
            What to take of several channels: one, from 0 on, or their mean.

        Returns
        -------
        torch.Tensor, [1, T, C]
            At the level of the file.
        """
        with contextlib.ExitStack() as stack:
            if re.match(r"https?://", str(path)):
                source, name = split_path(str(path))
                fetched = find_files(source, [name], savedir)
                (path,) = stack.enter_context(fetched)
            voices = self.separate_recording(
                FileRecording(path, channel), n_spks, head, sample_rate
            )
        return torch.from_numpy(voices.waveforms.T[None]).to(self.device)

    def separate_signal(
        self, samples, rate, n_spks=None, head=None, channel="mean"
    ):
        """Separate samples in memory.

        Arguments
        ---------
        samples : numpy.ndarray, [T] or [T, channels]
            Floating point, full scale at 1.0.
        rate : int
            Samples per second.
        n_spks, head, channel
            As of `separate_file`.

        Returns
        -------
        Voices
        """
        recording = SignalRecording(samples, rate, channel)
        return self.separate_recording(recording, n_spks, head)

    def separate_recording(
        self, recording, n_spks=None, head=None, sample_rate=None
    ):
        """Separate a recording into voices in memory, see `stream`."""
        for warning in recording.warnings:
            logger.warning("%s: %s.", recording.name, warning)
        stream = self.stream(recording, n_spks, head, sample_rate)
        voices = np.concatenate(list(stream.blocks), axis=1)
        expected = stream.expectation.improvement
        return Voices(voices, stream.rate, stream.confidence, expected)

    def stream(self, recording, n_spks=None, head=None, sample_rate=None):
        """Separate a recording of any length, piece by piece.

        What is longer than half a minute is separated in windows.

        Arguments
        ---------
        recording : recordings.FileRecording or recordings.SignalRecording
        n_spks, head
            As of `separate_batch`.
        sample_rate : int, optional
            Of the voices; that of the recording by default.

        Returns
        -------
        VoiceStream
        """
        (stream,) = self.streams([recording], n_spks, head, sample_rate)
        if isinstance(stream, UserError):
            raise stream
        return stream

    def streams(self, recordings, n_spks=None, head=None, sample_rate=None):
        """Separate several recordings, the short ones of them together.

        Arguments
        ---------
        recordings : list
        n_spks, head, sample_rate
            As of `stream`.

        Returns
        -------
        list of VoiceStream or UserError
            The error where a recording cannot be read.
        """
        n_spks, head = self.unmixer.check(n_spks, head)
        if sample_rate is not None and not 1 <= sample_rate <= HIGHEST:
            raise UserError(
                f"The voices' sampling rate is {sample_rate}; it may be from 1 "
                f"to {HIGHEST} Hz."
            )
        streams, short = [None] * len(recordings), {}
        for index, recording in enumerate(recordings):
            try:
                if recording.frames <= WINDOW * recording.rate:
                    short[index] = self._whole(
                        recording.blocks(), recording.rate, recording.frames
                    )
                else:
                    streams[index] = self._long(recording, n_spks, head)
            except UserError as error:
                streams[index] = error
        unmixed = self.unmixer(list(short.values()), n_spks, head)
        for index, each in zip(short, unmixed, strict=True):
            voices = each.voices.cpu().numpy()
            streams[index] = VoiceStream(
                *(self.sample_rate, len(voices), each.confidence, [voices]),
                self.unmixer.expectation(head, each.sums),
                head,
            )
        return [
            stream
            if isinstance(stream, UserError)
            else stream.at_rate(sample_rate or recording.rate, recording)
            for recording, stream in zip(recordings, streams, strict=True)
        ]

    def _long(self, recording, n_spks, head):
        count, confidence = n_spks, None
        if n_spks == "auto":
            count, confidence = self.count_in(recording)
        expectation = self.unmixer.expectation(head)
        blocks = self._in_windows(recording, count, head, expectation)
        return VoiceStream(
            self.sample_rate, count, confidence, blocks, expectation, head
        )

    def _in_windows(self, recording, count, head, expectation):
        """The blocks of a `VoiceStream` at the model's rate."""
        rates = recording.rate, self.sample_rate
        total = count_frames(recording.frames, *rates)
        if not count:
            return iter([np.zeros((0, total), np.float32)])
        size = min(round(WINDOW * self.sample_rate), total - 1)
        overlap = round(OVERLAP * self.sample_rate)
        return separate_windows(
            self.unmixer,
            stream_without_rumble(
                resampled(recording.blocks(), *rates, total), self.sample_rate
            ),
            count,
            size=size,
            overlap=fit_overlap(total, size, overlap),
            head=head,
            expectation=expectation,
        )

    def _whole(self, blocks, rate, frames):
        """All blocks of a part of a recording, [T], as the model takes it."""
        rates = rate, self.sample_rate
        blocks = resampled(blocks, *rates, count_frames(frames, *rates))
        mixture = without_rumble(np.concatenate(list(blocks)), rates[1])
        return torch.from_numpy(mixture).to(self.device)

    def count_in(self, recording):
        """How many speakers a long recording has.

        Counted in short pieces spread over it, as people who pause do not
        always talk at once: the largest number that a tenth of the pieces
        with speech have. The confidence is the mean one of these pieces.
        """
        length = round(EAR * recording.rate)
        starts = np.linspace(0, recording.frames - length, LISTEN).astype(int)
        found = []
        for piece in recording.pieces(starts.tolist(), length):
            mixture = self._whole([piece], recording.rate, length)
            (separated,) = self.unmixer.separator.separate_each([mixture])
            count, confidence = self.unmixer.count(mixture, separated)
            if count:
                found.append((count, confidence))
        if not found:
            return 0, 1.0
        counts, confidences = np.array(found).T
        shares = [
            (counts >= n).mean() >= ENOUGH for n in range(1, self.num_spks + 1)
        ]
        return max(1, int(sum(shares))), float(confidences.mean())

    def forward(self, mix):
        """`separate_batch`."""
        return self.separate_batch(mix)
