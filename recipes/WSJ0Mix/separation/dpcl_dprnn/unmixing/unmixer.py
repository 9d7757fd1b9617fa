"""From a mixture to the voices that people hear: one head's estimates, as many
as there are speakers, at the level of the mixture. Evaluation and inference
both come through here. Axis letters are in model.py.
"""

import dataclasses
import numbers
import typing

import torch

from ..common.errors import UserError
from ..model.targets import bin_weights
from .counting import count_speakers, counting_features, eigenvalues
from .expectation import Expectation
from .gains import loudest, make_consistent, to_scale
from .grouping import group_alike, voice_embeddings

MOST_CLUSTERS = 10  # of embeddings, which have 20 to 40 dimensions


class Unmixed(typing.NamedTuple):
    """The voices of one mixture."""

    voices: torch.Tensor  # [C, T]
    confidence: float | None  # of their number; None where it was given
    # [C, D], of `Unmixer.embed`; None without embeddings, or of silence
    sums: torch.Tensor | None = None


@dataclasses.dataclass(frozen=True)
class Unmixer:
    """A separator, and how its estimates become voices.

    Arguments
    ---------
    separator : separator.Separator
        The trained system.
    num_spks : int
        The most speakers that it was trained for.
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
        Weights of `counting.calibrate`; empty where the number of speakers is
        always given.
    best_head : str
        The head that is taken where none is asked for; "": the first.
    expected_improvement : dict
        Of each head the line of `expectation.fit_line`, if there is one.
    """

    separator: torch.nn.Module
    num_spks: int
    threshold_db: float = 40.0
    kmeans: dict = dataclasses.field(default_factory=dict)
    mixture_consistency: bool = True
    output_gains: typing.Sequence = ()
    speaker_counting: typing.Sequence = ()
    best_head: str = ""
    expected_improvement: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def from_hparams(cls, hparams):
        """Take what it needs from a mapping of hparams."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: hparams[name] for name in names if name in hparams})

    @property
    def heads(self):
        """The heads that there are, of "masks" and "kmeans", the best first."""
        heads = self.separator.heads
        return tuple(sorted(heads, key=lambda head: head != self.best_head))

    def most(self, head):
        """The most voices of a head: as many as it has masks, or clusters of
        embeddings, whose number training does not fix.
        """
        return MOST_CLUSTERS if head == "kmeans" else self.num_spks

    def heads_for(self, n_spks):
        """Those of `heads` that separate so many speakers."""
        return tuple(h for h in self.heads if 1 <= n_spks <= self.most(h))

    @torch.no_grad()
    def __call__(self, mixtures, n_spks, head="masks"):
        """Separate mixtures of any lengths.

        Arguments
        ---------
        mixtures : list of torch.Tensor, each [T]
            On the separator's device, at its sampling rate.
        n_spks : int or "auto"
            Voices to find.
        head : str
            "masks" or "kmeans".

        Returns
        -------
        list of Unmixed
        """
        if not mixtures:
            return []
        return [
            self.unmix(mixture, separated, n_spks, head)
            for mixture, separated in zip(
                mixtures, self.separator.separate_each(mixtures), strict=True
            )
        ]

    def check(self, n_spks, head):
        """Refuse what the system cannot do; return what stands for None.

        Raises
        ------
        UserError
            When there is no such head, or none for so many speakers.
        """
        heads = self.heads
        if head is not None and head not in heads:
            raise UserError(
                f"The model has no head {head!r}; it has {' and '.join(heads)}."
            )
        if n_spks is None:
            return self.num_spks, head or heads[0]
        if n_spks == "auto":
            if not self.speaker_counting:
                raise UserError(
                    "The model cannot count speakers: it has no embedding "
                    "head, or was not calibrated. Give their number."
                )
            return n_spks, head or heads[0]
        able = ()
        if isinstance(n_spks, numbers.Integral) and n_spks is not True:
            able = self.heads_for(n_spks)
        if head is None and able:
            return n_spks, able[0]
        if head not in able:
            limits = (f"1 to {self.most(head)} by {head}" for head in heads)
            raise UserError(
                f"The number of speakers is {n_spks!r}; this model separates "
                f"{', '.join(limits)}."
            )
        return n_spks, head

    @torch.no_grad()
    def unmix(self, mixture, separated, n_spks, head="masks"):
        """Make voices of what the separator made of a mixture.

        Arguments
        ---------
        mixture : torch.Tensor, [T]
        separated : separator.Separated
            Of a batch of one.
        n_spks, head
            As of `__call__`.

        Returns
        -------
        Unmixed
        """
        confidence = None
        if n_spks == "auto":
            n_spks, confidence = self.count(mixture, separated)
        if n_spks == 0:  # silence
            return Unmixed(mixture.new_zeros(0, len(mixture)), confidence)
        pieces = self.pieces(mixture, separated, n_spks, head)
        sums = self.embed(pieces, separated)
        if len(pieces) <= n_spks:
            return Unmixed(pieces, confidence, sums)
        owners = group_alike(sums, n_spks).to(pieces.device)
        voices, sums = (
            each.new_zeros(n_spks, each.shape[1]).index_add_(0, owners, each)
            for each in (pieces, sums)
        )
        return Unmixed(voices, confidence, sums)

    @torch.no_grad()
    def pieces(self, mixture, separated, n_spks, head="masks"):
        """What the voices of a mixture are to be made of.

        Arguments
        ---------
        mixture, separated, n_spks, head
            As of `unmix`; `n_spks` is a number.

        Returns
        -------
        torch.Tensor, [P, T]
            At the scale of the mixture. All outputs of the mask head where
            there are embeddings to tell whose they are, or else as many as
            there are speakers.
        """
        if head == "kmeans":
            pieces = self.separator.separate_kmeans(
                mixture[None],
                separated.embeddings,
                n_spks,
                self.threshold_db,
                **self.kmeans,
            )[0]
        else:
            pieces = separated.estimates[0]
            if self.output_gains:
                gains = pieces.new_tensor(self.output_gains)
                pieces = gains.unsqueeze(1) * pieces
            else:
                pieces = to_scale(mixture, pieces)
            if separated.embeddings is None:
                pieces = loudest(pieces, n_spks)
        if self.mixture_consistency:
            pieces = make_consistent(mixture, pieces)
        return pieces

    @torch.no_grad()
    def embed(self, pieces, separated):
        """`grouping.voice_embeddings` of pieces; None without embeddings."""
        if separated.embeddings is None:
            return None
        return voice_embeddings(
            self.separator, pieces, separated.embeddings[0], self.threshold_db
        )

    def expectation(self, head, sums=None):
        """An `Expectation` of a head's voices, which has heard those of the
        sums [C, D], if any.
        """
        expectation = Expectation(self.expected_improvement.get(head, ()))
        if sums is not None:
            expectation.hear(sums.cpu().numpy())
        return expectation

    @torch.no_grad()
    def count(self, mixture, separated):
        """The number of speakers and a confidence, see `count_speakers`."""
        features = self.counting_features(mixture, separated)
        if features is None:  # silence
            return 0, 1.0
        return count_speakers(features, self.speaker_counting)

    @torch.no_grad()
    def counting_features(self, mixture, separated):
        """`counting.counting_features` of a mixture [T] and what the separator
        made of it, with an eigenvalue more than there may be speakers; None of
        silence.
        """
        encoded = self.separator.grid_encoder(mixture[None])
        weights = bin_weights(encoded, self.threshold_db)
        values = eigenvalues(
            separated.embeddings[0].float().cpu().numpy(),
            weights[0].cpu().numpy(),
            leading=self.num_spks + 1,
        )
        if not values.any():
            return None
        powers = ()
        if separated.estimates is not None:
            powers = separated.estimates[0].square().sum(dim=-1).cpu().numpy()
        return counting_features(values, powers)
