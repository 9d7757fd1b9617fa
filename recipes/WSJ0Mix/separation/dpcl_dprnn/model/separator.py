"""Waveform in, waveforms out: the only place where a signal is encoded,
masked and decoded. Axis letters are in networks.py.
"""

import contextlib
import logging
import pathlib
import typing

import torch
import torch.nn.functional as F
from speechbrain.utils.checkpoints import Checkpointer

from ..common.errors import UserError, first_line
from .clustering import kmeans_masks
from .start import start_from_mixture
from .targets import bin_weights, dominant_source

logger = logging.getLogger(__name__)

INITIAL_WEIGHTS = ("mixture", "random")
TINY = 1e-20  # far below the peak of any signal


class Separated(typing.NamedTuple):
    """What a `Separator` makes of a batch of mixtures."""

    estimates: torch.Tensor | None  # [B, C, T], of the mask head
    embeddings: torch.Tensor | None  # [B, L, F, D], on the grid


class Separator(torch.nn.Module):
    """An encoder, a model and a decoder, with a grid for the embeddings.

    Arguments
    ---------
    encoder : torch.nn.Module
        Of the contract in encoders.py.
    model : torch.nn.Module
        Of the contract in networks.py.
    decoder : torch.nn.Module, optional
        Goes with `encoder`; not needed by a model without masks.
    grid_encoder : torch.nn.Module, optional
        Declares the time-frequency grid of the embeddings; `encoder` itself
        when not given.
    grid_decoder : torch.nn.Module, optional
        Goes with `grid_encoder`; `decoder` when not given.
    initial_weights : str
        "mixture": estimates are the mixture until something is learnt, see
        `start.start_from_mixture`; "random": SpeechBrain's.

    Example
    -------
    >>> from dpcl_dprnn.model.encoders import STFTDecoder, STFTEncoder
    >>> from dpcl_dprnn.model.networks import BLSTMSeparator, EmbeddingHead
    >>> head = EmbeddingHead(32, bins=129, size=20)
    >>> model = BLSTMSeparator(129, head, hidden_size=16, num_layers=1)
    >>> separator = Separator(STFTEncoder(), model, STFTDecoder()).eval()
    >>> mixture = torch.randn(1, 4000)
    >>> embeddings = separator(mixture).embeddings
    >>> separator.separate_kmeans(mixture, embeddings, num_spks=2).shape
    torch.Size([1, 2, 4000])
    """

    def __init__(
        self,
        encoder,
        model,
        decoder=None,
        grid_encoder=None,
        grid_decoder=None,
        initial_weights="random",
    ):
        super().__init__()
        if initial_weights not in INITIAL_WEIGHTS:
            raise ValueError(
                f"initial_weights is {initial_weights!r}; "
                f"it may be {' or '.join(INITIAL_WEIGHTS)}"
            )
        self.encoder = encoder
        self.model = model
        self.decoder = decoder
        self.grid_encoder = grid_encoder or encoder
        self.grid_decoder = grid_decoder or decoder
        self.inference_dtype = None  # of the model in `separate_each`: as it is
        if initial_weights == "mixture":
            start_from_mixture(encoder, model, decoder)

    def filled(self, samples):
        """The most samples, up to some, that leave no chunk mostly padding.

        Arguments
        ---------
        samples : int
            T.

        Returns
        -------
        int
        """
        frames = self.encoder.frames(samples)
        filled = self.model.filled(frames)
        return samples if filled == frames else self.encoder.longest(filled)

    def forward(self, mixture):
        """Separate with the mask head, and embed.

        Padding changes the result (normalisations and RNNs see it): use
        `separate_each` for signals of different lengths.

        Arguments
        ---------
        mixture : torch.Tensor, [B, T]

        Returns
        -------
        Separated
        """
        length = mixture.shape[-1]
        with _fp32(mixture):
            encoded = self.encoder(mixture.float())
            features = self.encoder.features(encoded)
        masks, embeddings = self.model(
            features, self.grid_encoder.frames(length)
        )
        estimates = None
        if masks is not None:
            estimates = self._mask(masks, encoded, length)
        return Separated(estimates, embeddings)

    @torch.no_grad()
    def separate_each(self, mixtures):
        """Separate signals of different lengths, each as if it were alone.

        Quiet and loud signals are treated alike: the level is taken off and
        put on again.

        Arguments
        ---------
        mixtures : list of torch.Tensor, each [T]

        Returns
        -------
        list of Separated
            Each of a batch of one.
        """
        peaks = [x.abs().max().clamp_min(TINY) for x in mixtures]
        with _fp32(mixtures[0]):
            encoded = [
                self.encoder(x[None].float() / peak)
                for x, peak in zip(mixtures, peaks, strict=True)
            ]
            features = [self.encoder.features(each) for each in encoded]
        grid_frames = [self.grid_encoder.frames(len(x)) for x in mixtures]
        with self._inference_precision(mixtures[0].device):
            outputs = self.model.forward_each(features, grid_frames)
        results = []
        for (masks, embeddings), each, x, peak in zip(
            outputs, encoded, mixtures, peaks, strict=True
        ):
            estimates = None
            if masks is not None:
                estimates = self._mask(masks, each, len(x)) * peak
            results.append(Separated(estimates, embeddings))
        return results

    @property
    def heads(self):
        """The heads that there are, of "masks" and "kmeans"."""
        heads = ("masks",) if self.model.has_masks else ()
        if self.model.embedding_head is not None:
            heads += ("kmeans",)
        return heads

    def _inference_precision(self, device):
        if self.inference_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(device.type, self.inference_dtype)

    def _mask(self, masks, encoded, length):
        """Mask [B, F, L] by [B, C, F, L] and decode to [B, C, T]."""
        with _fp32(masks):
            masked = masks.float() * encoded.unsqueeze(1)  # [B, C, F, L]
            return _decode(self.decoder, masked, length)

    @torch.no_grad()
    def dpcl_targets(self, mixture, sources, threshold_db=40.0):
        """Targets and weights of the deep-clustering loss on the grid, for
        the frames that `forward` embeds at present.

        Arguments
        ---------
        mixture : torch.Tensor, [B, T]
        sources : torch.Tensor, [B, C, T]
        threshold_db : float
            See `targets.bin_weights`.

        Returns
        -------
        targets : torch.Tensor, [B, L, F, C]
        weights : torch.Tensor, [B, L, F]
        """
        stride = self.model.embedding_head.stride
        with _fp32(mixture):
            encoded = self.grid_encoder(sources.flatten(0, 1))[..., ::stride]
            targets = dominant_source(encoded.unflatten(0, sources.shape[:2]))
            mixed = self.grid_encoder(mixture)[..., ::stride]
            weights = bin_weights(mixed, threshold_db)
        return targets, weights

    @torch.no_grad()
    def separate_kmeans(
        self, mixture, embeddings, num_spks, threshold_db=40.0, **kmeans
    ):
        """Separate one mixture by clustering its embeddings.

        Arguments
        ---------
        mixture : torch.Tensor, [1, T]
        embeddings : torch.Tensor, [1, L, F, D]
        num_spks : int
            Number of speakers, C.
        threshold_db : float
            See `targets.bin_weights`.
        **kmeans
            Further arguments of `clustering.kmeans_masks`.

        Returns
        -------
        torch.Tensor, [1, C, T]
        """
        encoded = self.grid_encoder(mixture)  # [1, F, L]
        weights = bin_weights(encoded, threshold_db)
        masks = kmeans_masks(
            embeddings[0].float().cpu().numpy(),
            weights[0].cpu().numpy(),
            num_spks,
            **kmeans,
        )
        masks = torch.from_numpy(masks).to(mixture.device).transpose(1, 2)
        masked = (masks * encoded).unsqueeze(0)  # [1, C, F, L]
        return _decode(self.grid_decoder, masked, mixture.shape[-1])


def _decode(decoder, representations, length):
    """Decode [B, C, F, L] to [B, C, T]."""
    waveforms = decoder(representations.flatten(0, 1), length)
    return waveforms.unflatten(0, representations.shape[:2])


def stack(results):
    """Put what `separate_each` gave together, padded with zeros.

    Arguments
    ---------
    results : list of Separated, each of a batch of one

    Returns
    -------
    Separated
    """
    estimates, embeddings = zip(*results, strict=True)
    return Separated(
        _pad_and_join(estimates, dim=2), _pad_and_join(embeddings, dim=1)
    )


def _pad_and_join(parts, dim):
    if parts[0] is None:
        return None
    size = max(part.shape[dim] for part in parts)
    after = 2 * (parts[0].dim() - 1 - dim)  # of later axes nothing is padded
    return torch.cat(
        [
            F.pad(part, [0] * after + [0, size - part.shape[dim]])
            for part in parts
        ]
    )


def _fp32(x):
    """Encode and decode at full precision: the ear hears bf16's 8 bits."""
    return torch.autocast(x.device.type, enabled=False)


def load_pretrained(separator, path):
    """Start a separator from the weights of a checkpoint.

    Of a mask head that has more outputs than the separator's, the first are
    taken.

    Arguments
    ---------
    separator : Separator
    path : str or Path
        `separator.ckpt` of an earlier run, or the folder of a checkpoint, or
        a `save` folder, of which the best checkpoint is taken.

    Raises
    ------
    UserError
        When there is no such checkpoint or it is of another model.
    """
    path = pathlib.Path(path)
    if (path / "separator.ckpt").is_file():
        path = path / "separator.ckpt"
    elif path.is_dir():  # a `save` folder
        best = Checkpointer(path).find_checkpoint(min_key="loss")
        path = best.paramfiles["separator"] if best else path
    if not path.is_file():
        raise UserError(
            f"pretrained: no separator.ckpt at {path}. Give a checkpoint "
            "file, or a folder that has one."
        )
    load_weights(separator, path, "pretrained", first_outputs)
    averaged = path.with_name("averaged.ckpt")
    if averaged.is_file():  # it is by these that the best was chosen
        state = torch.load(averaged, map_location="cpu", weights_only=True)
        state = first_outputs(state["average"], separator)
        separator.load_state_dict(state, strict=False)


def first_outputs(state, separator):
    """A state with no more outputs of the mask head than the separator has."""
    own = separator.state_dict()
    heads = ("model.conv2d.weight", "model.conv2d.bias")  # [C * N, ...]
    more = [k for k in heads if k in state and k in own]
    more = [k for k in more if len(state[k]) > len(own[k])]
    if not more:
        return state
    logger.warning(
        "pretrained: the mask head has more outputs; the first stay."
    )
    return {**state, **{k: state[k][: len(own[k])] for k in more}}


def load_weights(separator, path, what, prepare=None):
    """Load weights into a separator: as data, all of them or none.

    Arguments
    ---------
    separator : Separator
    path : Path
        `separator.ckpt`.
    what : str
        What the file was named by, for errors.
    prepare : Callable, optional
        Makes of the file's state and the separator the state to load.

    Raises
    ------
    UserError
        When the file is missing, damaged or of another model.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if prepare is not None:
            state = prepare(state, separator)
        separator.load_state_dict(state)
        if not all(value.isfinite().all() for value in state.values()):
            raise ValueError("it has weights that are NaN or infinite")
    except FileNotFoundError as error:
        raise UserError(f"{what}: {path} is missing.") from error
    except Exception as error:
        raise UserError(
            f"{what}: {path} does not fit this model or is damaged "
            f"({first_line(error)}). Copy it again, or use the hparams it was "
            "trained with."
        ) from error
