"""The dual path of SpeechBrain's `Dual_Path_Model`, computed with fewer copies.

SpeechBrain keeps channels first and copies all features four times a block,
and an RNN that is given them batch first copies them again. Here channels are
last from the first layer to the last: within chunks a single utterance is never
copied, and across chunks once. Results are the parent's, up to rounding.
Axis letters are in networks.py.
"""

import torch
import torch.nn.functional as F


def pointwise(convolution, x, times=1):
    """A convolution of kernel 1 as a linear layer over the last axis.

    Arguments
    ---------
    convolution : torch.nn.Conv1d or torch.nn.Conv2d
    x : torch.Tensor, [..., N]
    times : int
        How many results are added up: so often the bias counts.

    Returns
    -------
    torch.Tensor, [..., N']
    """
    bias = convolution.bias
    if bias is not None and times != 1:
        bias = times * bias
    return F.linear(x, convolution.weight.flatten(1), bias)


def normalised(norm, x):
    """Apply SpeechBrain's norms, which want channels second, to channels last."""
    channels_second = x.movedim(-1, 1)  # a view that PyTorch's norms know
    return norm(channels_second).movedim(1, -1)


def cut_chunks(x, size, overlap=True):
    """Cut frames into chunks, padded with zeros.

    Arguments
    ---------
    x : torch.Tensor, [B, L, N]
    size : int
        Frames in a chunk, K.
    overlap : bool
        Whether chunks overlap by half. Each frame is then in two of them.

    Returns
    -------
    torch.Tensor, [B, K, S, N]

    Example
    -------
    >>> cut_chunks(torch.arange(1, 5.0).reshape(1, 4, 1), 2).squeeze()
    tensor([[0., 1., 2., 3., 4., 0.],
            [1., 2., 3., 4., 0., 0.]])
    """
    length = x.shape[1]
    if not overlap:
        x = F.pad(x, (0, 0, 0, -length % size))
        return x.unflatten(1, (-1, size)).transpose(1, 2).contiguous()
    half = size // 2
    gap = size - (half + length % size) % size
    x = F.pad(x, (0, 0, half, gap + half))
    rows = [x[:, :-half], x[:, half:]]  # as the parent, for odd sizes too
    rows = [row.unflatten(1, (-1, size)).transpose(1, 2) for row in rows]
    return torch.stack(rows, dim=3).flatten(2, 3)


def add_chunks(chunks, length, overlap=True):
    """Put chunks together again, adding up where they overlap.

    Arguments
    ---------
    chunks : torch.Tensor, [B, K, S, N]
        Of `cut_chunks`.
    length : int
        Frames before padding, L.
    overlap : bool

    Returns
    -------
    torch.Tensor, [B, L, N]
    """
    if not overlap:
        return chunks.transpose(1, 2).flatten(1, 2)[:, :length]
    half = chunks.shape[1] // 2
    first, second = (
        chunks[:, :, start::2].transpose(1, 2).flatten(1, 2) for start in (0, 1)
    )
    return first[:, half : half + length] + second[:, :length]


def block(layer, x):
    """A block of the dual path.

    Arguments
    ---------
    layer : speechbrain.lobes.models.dual_path.Dual_Computation_Block
        The parts.
    x : torch.Tensor, [B, K, S, N]

    Returns
    -------
    torch.Tensor, [B, K, S, N]
    """
    linear, norm = layer.linear_layer_after_inter_intra, layer.norm is not None
    within = along_first(
        layer.intra_mdl,
        layer.intra_linear if linear else None,
        layer.intra_norm if norm else None,
        x,
    )
    if layer.skip_around_intra:
        within = x + within
    across = along_first(
        layer.inter_mdl,
        layer.inter_linear if linear else None,
        layer.inter_norm if norm else None,
        within.transpose(1, 2),
    )
    # The first of the two decides how the sum lies in memory.
    return within + across.transpose(1, 2)


def along_first(model, linear, norm, x):
    """Run a sequence model along the first axis of a grid, and normalise.

    Time stands first in memory, as PyTorch's RNNs want it, whatever the order
    of the axes that they are told.

    Arguments
    ---------
    model : callable
        [batch, time, N] -> [batch, time, H].
    linear : callable or None
        [..., H] -> [..., N].
    norm : callable or None
        Of [B, N, X, Y].
    x : torch.Tensor, [B, X, Y, N]
        With time along X.

    Returns
    -------
    torch.Tensor, [B, X, Y, N]
    """
    batch, steps, others, _ = x.shape
    sequences = x.transpose(0, 1).reshape(steps, batch * others, -1)
    y = model(sequences.transpose(0, 1)).transpose(0, 1)  # [X, B * Y, H]
    if linear is not None:
        y = linear(y)
    # [B, X, Y, N]; of a single utterance nothing moves. By way of one axis, as
    # a batch of one keeps strides by which PyTorch's norms know no layout.
    y = y.unflatten(1, (batch, others)).transpose(0, 1)
    y = y.flatten().view(batch, steps, others, -1)
    return y if norm is None else normalised(norm, y)
