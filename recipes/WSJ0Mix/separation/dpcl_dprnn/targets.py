"""Who dominates each bin, and how much a bin weighs.

Grids are indexed [..., L, F] here, as the embeddings are; axis letters are
in model.py.
"""

import torch


def dominant_source(sources):
    """One-hot assignment of every bin to its loudest source.

    The ideal binary mask, and the Y of deep clustering (Hershey et al.,
    arXiv 1508.04306, section 2).

    Arguments
    ---------
    sources : torch.Tensor, [B, C, F, L]
        Representations of the sources, real or complex.

    Returns
    -------
    torch.Tensor, [B, L, F, C], 0 or 1, float32. Ties go to the first source.

    Example
    -------
    >>> sources = torch.tensor([[[[1.0, 0.0]], [[0.5, 2.0]]]])
    >>> dominant_source(sources)[0, :, 0]
    tensor([[1., 0.],
            [0., 1.]])
    """
    loudest = sources.abs().argmax(dim=1).transpose(1, 2)  # [B, L, F]
    one_hot = torch.nn.functional.one_hot(loudest, sources.shape[1])
    return one_hot.float()


def bin_weights(mixture, threshold_db=40.0):
    """Weight of every bin: its magnitude, or 0 where it is inactive.

    Arguments
    ---------
    mixture : torch.Tensor, [B, F, L]
        Representation of the mixture, real or complex.
    threshold_db : float
        A bin more than this below the loudest bin of its utterance is
        inactive. A silent utterance has no active bin.

    Returns
    -------
    torch.Tensor, [B, L, F], non-negative, float32

    Example
    -------
    >>> bin_weights(torch.tensor([[[1.0, 0.5, 0.001]]]))
    tensor([[[1.0000],
             [0.5000],
             [0.0000]]])
    """
    magnitude = mixture.abs().float().transpose(1, 2)
    peak = magnitude.amax(dim=(1, 2), keepdim=True)
    floor = peak * 10 ** (-threshold_db / 20)
    return magnitude * ((magnitude > floor) & (peak > 1e-8))
