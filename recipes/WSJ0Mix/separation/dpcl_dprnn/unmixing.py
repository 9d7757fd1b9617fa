"""From a mixture to the voices that people hear: one head's estimates, as many
as there are speakers, at the level of the mixture. Evaluation and inference
both come through here. Axis letters are in model.py.
"""

import dataclasses
import typing

import torch

from .counting import count_speakers, effective_speakers
from .errors import UserError
from .scaling import (
    join_alike,
    loudest,
    make_consistent,
    to_scale,
    voice_embeddings,
)
from .targets import bin_weights


class Unmixed(typing.NamedTuple):
    """The voices of one mixture."""

    voices: torch.Tensor  # [C, T]
    confidence: float | None  # of their number; None where it was given
    embeddings: torch.Tensor | None  # [L, F, D]


@dataclasses.dataclass(frozen=True)
class Unmixer:
    """A separator, and how its estimates become voices.

    Arguments
    ---------
    separator : separation.Separator
        The trained system.
    num_spks : int
        The most speakers that it separates.
    threshold_db : float
        See `targets.bin_weights`.
    kmeans : dict
        Arguments of `clustering.kmeans_masks`.
    mixture_consistency : bool
        Whether voices sum to the mixture. Not so in noise.
    output_gains : list of float
        Of the outputs of the mask head, whose scale SI-SNR leaves free; empty
        to fit them to each mixture.
    speaker_counting : list
        Boundaries of `counting.calibrate`; empty where the number of speakers
        is always given.
    """

    separator: torch.nn.Module
    num_spks: int
    threshold_db: float = 40.0
    kmeans: dict = dataclasses.field(default_factory=dict)
    mixture_consistency: bool = True
    output_gains: typing.Sequence = ()
    speaker_counting: typing.Sequence = ()

    @classmethod
    def from_hparams(cls, hparams):
        """Take what it needs from a mapping of hparams."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: hparams[name] for name in names if name in hparams})

    @torch.no_grad()
    def __call__(self, mixtures, n_spks=None, head=None):
        """Separate mixtures of any lengths.

        Arguments
        ---------
        mixtures : list of torch.Tensor, each [T]
            On the separator's device, at its sampling rate.
        n_spks : int or "auto", optional
            Voices to find; `num_spks` by default.
        head : str, optional
            "masks" or "kmeans"; by default the first one that there is.

        Returns
        -------
        list of Unmixed
        """
        head = self.check(n_spks, head)
        if not mixtures:
            return []
        return [
            self.unmix(mixture, separated, n_spks, head)
            for mixture, separated in zip(
                mixtures, self.separator.separate_each(mixtures), strict=True
            )
        ]

    def check(self, n_spks, head):
        """Refuse what the system cannot do; return the head to use.

        Raises
        ------
        UserError
            When there is no such head, or too many speakers are asked for.
        """
        heads = self.separator.heads
        if head is not None and head not in heads:
            raise UserError(
                f"The model has no head {head!r}; it has {' and '.join(heads)}."
            )
        if n_spks == "auto":
            if not self.speaker_counting:
                raise UserError(
                    "The model cannot count speakers: it has no embedding "
                    "head, or was not calibrated. Give their number."
                )
        elif n_spks is not None and (
            not isinstance(n_spks, int) or not 1 <= n_spks <= self.num_spks
        ):
            raise UserError(
                f"The number of speakers is {n_spks}; this model separates 1 "
                f"to {self.num_spks}, or auto."
            )
        return head or heads[0]

    @torch.no_grad()
    def unmix(self, mixture, separated, n_spks=None, head="masks"):
        """Make voices of what the separator made of a mixture.

        Arguments
        ---------
        mixture : torch.Tensor, [T]
        separated : separation.Separated
            Of a batch of one.
        n_spks : int or "auto", optional
            As for `__call__`.
        head : str
            "masks" or "kmeans".

        Returns
        -------
        Unmixed
        """
        embeddings = separated.embeddings
        confidence = None
        if n_spks == "auto":
            n_spks, confidence = self.count(mixture, embeddings)
        elif n_spks is None:
            n_spks = self.num_spks
        if n_spks == 0:  # silence
            voices = mixture.new_zeros(0, len(mixture))
        elif head == "masks":
            voices = self._from_masks(mixture, separated, n_spks)
        else:
            voices = self.separator.separate_kmeans(
                mixture[None],
                embeddings,
                n_spks,
                self.threshold_db,
                **self.kmeans,
            )[0]
            voices = self._consistent(mixture, voices)
        if embeddings is not None:
            embeddings = embeddings[0]
        return Unmixed(voices, confidence, embeddings)

    def _from_masks(self, mixture, separated, n_spks):
        """Voices of the mask head, which has as many outputs as it has."""
        estimates = separated.estimates[0]
        if self.output_gains:
            gains = estimates.new_tensor(self.output_gains)
            voices = gains.unsqueeze(1) * estimates
        else:
            voices = to_scale(mixture, estimates)
        if n_spks == len(voices):
            return self._consistent(mixture, voices)
        if separated.embeddings is None:
            return self._consistent(mixture, loudest(voices, n_spks))
        voices = self._consistent(mixture, voices)
        sums = voice_embeddings(
            self.separator, voices, separated.embeddings[0], self.threshold_db
        )
        return join_alike(voices, sums, n_spks)

    def _consistent(self, mixture, voices):
        if self.mixture_consistency:
            voices = make_consistent(mixture, voices)
        return voices

    def count(self, mixture, embeddings):
        """The number of speakers and a confidence, see `count_speakers`."""
        score = self.speaker_score(mixture, embeddings)
        count, confidence = count_speakers(score, self.speaker_counting)
        return min(count, self.num_spks), confidence

    def speaker_score(self, mixture, embeddings):
        """`counting.effective_speakers` of a mixture [T]."""
        encoded = self.separator.grid_encoder(mixture[None])
        weights = bin_weights(encoded, self.threshold_db)
        return effective_speakers(
            embeddings[0].float().cpu().numpy(), weights[0].cpu().numpy()
        )
