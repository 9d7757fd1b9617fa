"""A start from which a separator has only to learn what differs from the
mixture.

Drawn at random, filters and masks give an estimate that is some 30 dB further from
a speaker than the mixture is, norms blow small branches up, and LSTMs forget
within two frames: a part of every training is spent on the way back. Here
filters reconstruct the signal, masks give every speaker an equal share of it,
branches are small and LSTMs remember. Axis letters are in networks.py.
"""

import math

import torch

from .encoders import LearnedEncoder

SHARE_OF_CHANCE = 0.3  # of the mask layer's random weights, which are kept
BRANCH_GAIN = 0.2  # of the norms at the ends of branches
REMEMBER_WITHIN, REMEMBER_ACROSS = 1.0, 1.5  # added to forget gates' biases


def fourier_filters(kernel_size, count):
    """Filters for an encoder with a ReLU and for the decoder after it, that
    reconstruct a signal.

    A real Fourier basis under a sine window, and its negative: of each pair
    the ReLU keeps the one that is above 0. With twice as many filters as
    samples, or more, and a stride of half the kernel, the decoder gives back
    what the encoder was given; basis functions longer than the kernel are cut
    off, and such a cut basis is still a tight frame. With fewer filters the
    highest frequencies are left out.

    Arguments
    ---------
    kernel_size : int
        Samples of a filter, P; even.
    count : int
        Number of filters, F.

    Returns
    -------
    torch.Tensor, [F - F % 2, P], the negatives in the second half

    Example
    -------
    >>> fourier_filters(kernel_size=16, count=33).shape
    torch.Size([32, 16])
    """
    half = count // 2
    size = max(half, kernel_size)  # samples of a whole basis function
    time = torch.arange(kernel_size, dtype=torch.float64)
    rows = []
    for k in range(half):
        frequency = (k + 1) // 2  # 0, then a cosine and a sine of each
        single = frequency == 0 or 2 * frequency == size
        phase = 2 * math.pi * frequency * time / size
        wave = phase.sin() if k and k % 2 == 0 else phase.cos()
        rows.append(wave * math.sqrt((1 if single else 2) / size))
    window = torch.sin(math.pi * (time + 0.5) / kernel_size)
    basis = torch.stack(rows) * window if rows else time.new_zeros(0, len(time))
    return torch.cat([basis, -basis]).float()


@torch.no_grad()
def start_from_mixture(encoder, model, decoder):
    """Give a separator with masks weights that make every estimate the
    mixture.

    Arguments
    ---------
    encoder, decoder : torch.nn.Module
        Of the contract in encoders.py. Those that are learned get the same
        filters; an STFT reconstructs as it is.
    model : networks.DualPathSeparator
        Its mask layer gets a bias, see `DualPathSeparator.add_mask_bias`.
    """
    if isinstance(encoder, LearnedEncoder):
        filters = encoder.conv1d.weight.squeeze(1)  # [F, P]
        fourier = fourier_filters(filters.shape[1], len(filters))
        filters[: len(fourier)] = fourier
        decoder.weight.copy_(encoder.conv1d.weight)
    model.add_mask_bias(1 / model.num_spks)
    model.end_conv1x1.weight.mul_(SHARE_OF_CHANCE)
    for layer in model.dual_mdl:
        if layer.norm is not None:
            layer.intra_norm.weight.fill_(BRANCH_GAIN)
            layer.inter_norm.weight.fill_(BRANCH_GAIN)
        remember(layer.intra_mdl, REMEMBER_WITHIN)
        remember(layer.inter_mdl, REMEMBER_ACROSS)


def remember(module, amount):
    """Add to the biases of the forget gates of all LSTMs in a module."""
    for part in module.modules():
        if isinstance(part, torch.nn.LSTM):
            for name, bias in part.named_parameters():
                if name.startswith("bias_ih"):
                    bias.chunk(4)[1].add_(amount)  # gates: i, f, g, o
