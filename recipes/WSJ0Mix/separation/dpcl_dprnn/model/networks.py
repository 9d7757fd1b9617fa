"""The separators: a trunk with a mask head and an embedding head.

The alphabet of axes, used by every module of this package:

    B batch              T samples             C speakers (sources)
    F frequency bins or encoder filters        L frames
    N feature channels   K chunk length        S chunks
    D embedding size

A separator maps features to masks and embeddings, either of which may be
absent (None) when the system has no such head:

    masks, embeddings = model(features, grid_frames)
    # [B, F, L] -> [B, C, F, L], [B, L', F', D]

`model.forward_each` does the same for signals of different lengths: each as
if it were alone, as many as possible at a time.

The masks stand on the encoder's own frames. The embeddings stand on the grid
that the YAML declares, of L' = `grid_frames` frames and F' bins.
"""

import math

import torch
import torch.nn.functional as F
from speechbrain.lobes.models.dual_path import Dual_Path_Model
from speechbrain.nnet.RNN import LSTM, rnn_init
from torch.nn.utils.rnn import (
    pack_padded_sequence,
    pad_packed_sequence,
    pad_sequence,
)
from torch.utils.checkpoint import checkpoint

from .dual_path import add_chunks, block, cut_chunks, pointwise


class EmbeddingHead(torch.nn.Module):
    """A unit-norm embedding for every bin of a time-frequency grid.

    The trunk's frames are averaged down to the frames of the grid, then one
    linear layer gives the embeddings of all bins of a frame (Hershey et al.,
    arXiv 1508.04306).

    Arguments
    ---------
    in_channels : int
        Feature channels of the trunk, N.
    bins : int
        Bins of the grid, F'.
    size : int
        Embedding size, D.
    pool : int
        Trunk frames per grid frame: the grid's hop over the encoder's stride,
        which has to be a whole number.
    training_stride : int
        In training mode only every n-th frame of the grid is embedded, for
        speed: neighbouring frames teach almost the same.

    Example
    -------
    >>> head = EmbeddingHead(in_channels=64, bins=129, size=20, pool=4)
    >>> head(torch.randn(2, 64, 127), frames=32).shape
    torch.Size([2, 32, 129, 20])
    """

    def __init__(
        self, in_channels, bins=129, size=20, pool=1, training_stride=1
    ):
        super().__init__()
        if pool < 1 or pool != int(pool):
            raise ValueError(
                "the hop of the embedding grid must be a multiple of the "
                f"encoder's stride (kernel_size / 2), not {pool} times it"
            )
        self.bins = bins
        self.size = size
        self.pool = int(pool)
        self.training_stride = training_stride
        self.linear = torch.nn.Linear(in_channels, bins * size)

    @property
    def stride(self):
        """Every which frame of the grid is embedded at present."""
        return self.training_stride if self.training else 1

    def forward(self, x, frames):
        """Embed trunk features.

        Arguments
        ---------
        x : torch.Tensor, [B, N, L]
        frames : int
            Frames of the grid, L'.

        Returns
        -------
        torch.Tensor, [B, L', F', D], of unit norm over D; of every
        `stride`-th of the L' frames
        """
        x = x.transpose(1, 2)  # [B, L, N]
        if self.pool > 1:
            # Grid frame l is centred on trunk frame l * pool, give or take
            # half a trunk frame.
            left = self.pool // 2
            right = frames * self.pool - left - x.shape[1]  # or cut off
            x = F.pad(x, (0, 0, left, right)).unflatten(1, (-1, self.pool))
            x = x[:, :: self.stride].mean(dim=2)
        else:
            x = x[:, : frames : self.stride]
        x = self.linear(x).unflatten(-1, (self.bins, self.size))
        return unit_norm(x)  # [B, L', F', D]


def unit_norm(x):
    """Divide vectors by their norm, in fp32.

    As `torch.nn.functional.normalize`, by the kernel of PyTorch's weight
    normalisation: its backward is one pass over a tensor that is the largest
    of a training step, rather than ten.

    Arguments
    ---------
    x : torch.Tensor, [..., D]

    Returns
    -------
    torch.Tensor, [..., D], float32

    Example
    -------
    >>> unit_norm(torch.tensor([3.0, -4.0]))
    tensor([ 0.6000, -0.8000])
    """
    vectors = x.to(torch.float32, copy=True).add_(1e-12)  # none has norm 0
    vectors = vectors.reshape(-1, x.shape[-1])
    ones = vectors.new_ones(len(vectors), 1)
    return torch._weight_norm(vectors, ones, 0).reshape(x.shape)


MASK_ACTIVATIONS = {"relu": torch.nn.ReLU, "sigmoid": torch.nn.Sigmoid}


class DualPathSeparator(Dual_Path_Model):
    """SpeechBrain's dual-path model with a second, embedding head.

    Parameter names are the parent's, so stock checkpoints load. Unlike the
    parent, whose layers are copies of one another, every layer here starts
    from weights of its own.

    Reference: Luo, Chen & Yoshioka, arXiv 1910.06379.

    Arguments
    ---------
    embedding_head : EmbeddingHead, optional
        Reads the trunk's output; without it embeddings are None.
    overlap : bool
        Whether chunks overlap by half, as the parent's do. Without overlap
        each frame is processed once rather than twice.
    cuts : int
        How often, in evaluation, the frames are cut into chunks, which begin
        elsewhere each time; the heads read the mean of what the trunk makes
        of them, and the work is so many times as much.
    mask_activation : str
        `relu`, as the parent's, or `sigmoid`: with it an output that has
        learnt to be silent can be heard again, while a ReLU that is 0
        everywhere never learns.
    recompute : bool
        Whether the backward pass computes what is within a block once more,
        instead of it being kept (Chen et al., arXiv 1604.06174): less memory,
        more time.
    **kwargs
        Arguments of `speechbrain.lobes.models.dual_path.Dual_Path_Model`.

    Example
    -------
    >>> from speechbrain.lobes.models.dual_path import SBRNNBlock
    >>> model = DualPathSeparator(
    ...     in_channels=32, out_channels=16, K=10, num_layers=1,
    ...     intra_model=SBRNNBlock(16, 8, 1), inter_model=SBRNNBlock(16, 8, 1),
    ...     embedding_head=EmbeddingHead(16, bins=129, size=20, pool=4),
    ... )
    >>> masks, embeddings = model(torch.randn(2, 32, 127), grid_frames=32)
    >>> masks.shape, embeddings.shape
    (torch.Size([2, 2, 32, 127]), torch.Size([2, 32, 129, 20]))
    """

    has_masks = True

    def __init__(
        self,
        embedding_head=None,
        overlap=True,
        cuts=1,
        mask_activation="relu",
        recompute=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if mask_activation not in MASK_ACTIVATIONS:
            raise ValueError(
                f"mask_activation is {mask_activation!r}; it may be "
                + " or ".join(MASK_ACTIVATIONS)
            )
        if not isinstance(cuts, int) or cuts < 1:
            raise ValueError(f"cuts is {cuts!r}; it may be 1, 2, ...")
        self.activation = MASK_ACTIVATIONS[mask_activation]()
        self.recompute = recompute
        self.embedding_head = embedding_head
        self.overlap = overlap
        self.cuts = cuts
        for layer in self.dual_mdl[1:]:
            reinitialize(layer)

    def add_mask_bias(self, value):
        """Give the mask layer, which has none in the parent, a bias.

        Weights without one, such as the parent's, still load; it is then 0.

        Arguments
        ---------
        value : float
            What all masks are about, at the start; of sigmoids 0.9 at most.
        """
        if isinstance(self.activation, torch.nn.Sigmoid):
            value = min(value, 0.9)  # at 1 they would learn no more
            value = math.log(value / (1 - value))
        weight = self.end_conv1x1.weight
        self.end_conv1x1.bias = torch.nn.Parameter(
            weight.new_full((len(weight),), value)
        )
        self.register_load_state_dict_pre_hook(without_mask_bias)

    def filled(self, frames):
        """The most frames, up to some, that leave no chunk mostly padding.

        Arguments
        ---------
        frames : int
            L.

        Returns
        -------
        int
            `frames` where they do not fill a chunk.
        """
        # Of chunks that overlap, one frame at least is padding.
        rest = self.K - 1 - self.K // 2 if self.overlap else 0
        filled = frames - (frames - rest) % self.K
        return filled if filled > 0 else frames

    def forward(self, features, grid_frames=None):
        """Separate features.

        Arguments
        ---------
        features : torch.Tensor, [B, F, L]
        grid_frames : int, optional
            Frames of the embedding grid, L'; L when not given.

        Returns
        -------
        masks : torch.Tensor, [B, C, F, L], non-negative
        embeddings : torch.Tensor, [B, L', F', D], or None
        """
        (x,) = self.trunk([self.read(features)])
        return self.heads(x, grid_frames or features.shape[-1])

    def forward_each(self, features, grid_frames):
        """Separate features of different lengths.

        The blocks, which take most of the time, see as many chunks of each
        signal of a batch. What depends on the frames within the last chunk
        is done signal by signal.

        Arguments
        ---------
        features : list of torch.Tensor, each [1, F, L]
        grid_frames : list of int

        Returns
        -------
        list of (masks, embeddings)
            What `forward` gives for each by itself.
        """
        trunk = self.trunk([self.read(each) for each in features])
        return [
            self.heads(x, frames)
            for x, frames in zip(trunk, grid_frames, strict=True)
        ]

    def read(self, features):
        """The parent's layers before the blocks, [B, F, L] to [B, L, N]."""
        x = pointwise(self.conv1d, self.norm(features).transpose(1, 2))
        if self.use_global_pos_enc:
            x = self.pos_enc(x) + x * x.shape[-1] ** 0.5
        return x

    def trunk(self, xs):
        """What the heads read of each of `xs`, [B, L, N] to [B, L, N]: the mean
        over the `cuts`, in training of the first alone.
        """
        cuts = 1 if self.training else self.cuts
        period = self.K // 2 if self.overlap else self.K
        offsets = [period * cut // cuts for cut in range(cuts)]
        results = [self.cut_at(xs, offset) for offset in offsets]
        if cuts == 1:
            return results[0]
        return [sum(of_one) / cuts for of_one in zip(*results, strict=True)]

    def cut_at(self, xs, offset):
        """What blocks and PReLU make of each of `xs`, [B, L, N], with so many
        frames of zeros before it.
        """
        late = [F.pad(x, (0, 0, offset, 0)) for x in xs] if offset else xs
        chunks = [cut_chunks(x, self.K, self.overlap) for x in late]
        groups = {}
        for index, x in enumerate(chunks):
            # By the number of chunks, which in an ONNX export is a symbol.
            number = x.shape[2] if len(xs) > 1 else None
            groups.setdefault(number, []).append(index)
        results = [None] * len(xs)
        for indices in groups.values():
            group = [chunks[index] for index in indices]
            sizes = [len(each) for each in group]
            if len(group) > 1:
                group = [torch.cat(group)]
            for index in indices:
                chunks[index] = None  # nobody holds them while the blocks run
            y = self.blocks(group.pop())
            y = F.prelu(y, self.prelu.weight)  # one weight for all channels
            parts = y.split(sizes)
            for index, part in zip(indices, parts, strict=True):
                frames = offset + xs[index].shape[1]
                joined = add_chunks(part, frames, self.overlap)
                results[index] = joined[:, offset:]
        return results

    def blocks(self, x):
        """The parent's intra- and inter-chunk blocks, on [B, K, S, N]."""
        for layer in self.dual_mdl:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, layer, x, use_reentrant=False)
            else:
                x = block(layer, x)
        return x

    def heads(self, x, grid_frames):
        """Masks and embeddings of what the trunk gives, [B, L, N]."""
        embeddings = None
        if self.embedding_head is not None:
            embeddings = self.embedding_head(x.transpose(1, 2), grid_frames)
        return self.mask_head(x), embeddings

    def mask_head(self, x):
        """The parent's layers from the trunk's output [B, L, N] to masks.

        The parent adds up the chunks after its first layer; as that is
        linear, they may as well be added before, and there are fewer of them.
        """
        x = pointwise(self.conv2d, x, times=2 if self.overlap else 1)
        x = x.unflatten(-1, (self.num_spks, -1)).transpose(1, 2)
        x = x.contiguous()  # [B, C, L, N], while it is small
        gate = torch.sigmoid(pointwise(self.output_gate[0], x))
        x = torch.tanh(pointwise(self.output[0], x)) * gate
        x = pointwise(self.end_conv1x1, x)  # [B, C, L, F]
        if isinstance(self.activation, torch.nn.Sigmoid):
            x = x.float()  # half precision has no slope near 0 or 1
        return self.activation(x).transpose(2, 3)


class BLSTMSeparator(torch.nn.Module):
    """The classic deep-clustering trunk: a stack of bidirectional LSTMs.

    References: Hershey et al., arXiv 1508.04306; Isik et al., arXiv
    1607.02173.

    Arguments
    ---------
    in_channels : int
        Bins of the encoder, F.
    hidden_size : int
        Units of each direction.
    num_layers : int
        Number of BLSTM layers.
    dropout : float
        Dropout between layers.
    embedding_head : EmbeddingHead
        Reads 2 * `hidden_size` channels.

    Example
    -------
    >>> model = BLSTMSeparator(
    ...     in_channels=129, hidden_size=16, num_layers=2,
    ...     embedding_head=EmbeddingHead(32, bins=129, size=20),
    ... )
    >>> masks, embeddings = model(torch.randn(2, 129, 50))
    >>> masks is None, embeddings.shape
    (True, torch.Size([2, 50, 129, 20]))
    """

    has_masks = False

    def __init__(
        self,
        in_channels,
        embedding_head,
        hidden_size=600,
        num_layers=4,
        dropout=0.3,
    ):
        super().__init__()
        self.norm = torch.nn.LayerNorm(in_channels)
        self.blstm = LSTM(
            hidden_size,
            input_size=in_channels,
            num_layers=num_layers,
            dropout=dropout,
            bidirectional=True,
        )
        self.embedding_head = embedding_head

    def filled(self, frames):
        """Any number of frames fills it."""
        return frames

    def forward(self, features, grid_frames=None):
        """Embed features.

        Arguments
        ---------
        features : torch.Tensor, [B, F, L]
        grid_frames : int, optional
            Frames of the embedding grid, L'; L when not given.

        Returns
        -------
        masks : None
        embeddings : torch.Tensor, [B, L', F', D]
        """
        x = self._read(features)  # [B, L, F]
        x, _ = self.blstm(x)  # [B, L, N]
        frames = grid_frames or features.shape[-1]
        return None, self.embedding_head(x.transpose(1, 2), frames)

    def forward_each(self, features, grid_frames):
        """Embed features of different lengths, as one packed batch.

        Arguments
        ---------
        features : list of torch.Tensor, each [1, F, L]
        grid_frames : list of int

        Returns
        -------
        list of (None, embeddings)
            What `forward` gives for each by itself.
        """
        xs = [self._read(each)[0] for each in features]
        lengths = [len(x) for x in xs]
        packed = pack_padded_sequence(
            pad_sequence(xs, batch_first=True),
            lengths,
            batch_first=True,
            enforce_sorted=False,
        )
        out, _ = pad_packed_sequence(self.blstm.rnn(packed)[0], True)
        return [
            (None, self.embedding_head(x[None, :length].transpose(1, 2), each))
            for x, length, each in zip(out, lengths, grid_frames, strict=True)
        ]

    def _read(self, features):
        """Normalised features [B, L, F], in autocast's precision where it is
        on: PyTorch fails to find an LSTM for fp32 there on CPUs without bf16.
        """
        x = self.norm(features.transpose(1, 2))
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            x = x.to(torch.get_autocast_dtype(kind))
        return x


def without_mask_bias(model, state, prefix, *_):
    """Fill in the bias that weights of a model without one do not have."""
    weight = state.get(f"{prefix}end_conv1x1.weight")
    if weight is not None:
        state.setdefault(
            f"{prefix}end_conv1x1.bias", weight.new_zeros(len(weight))
        )


def reinitialize(module):
    """Draw fresh initial weights for a module and all it holds.

    RNNs get SpeechBrain's own initialisation (orthogonal recurrent
    weights), the rest PyTorch's.
    """
    for part in module.modules():
        for reset in ("reset_parameters", "_reset_parameters"):
            if callable(getattr(part, reset, None)):
                getattr(part, reset)()
                break
        if isinstance(part, torch.nn.RNNBase):
            rnn_init(part)
