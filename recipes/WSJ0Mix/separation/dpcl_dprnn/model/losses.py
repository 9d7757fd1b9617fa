"""Deep-clustering and permutation-invariant losses, as pure functions.

All of them compute in fp32, also under autocast, and give one value per
utterance. Axis letters are in networks.py.
"""

import functools
import itertools

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

EPS = 1e-8
TINY = 1e-20  # far below the power of any signal, well above fp32's smallest


def _normalised(weights):
    """Weights that sum to 1 per utterance, or stay 0 where all are 0."""
    weights = weights.float().flatten(1)
    return weights / weights.sum(dim=1, keepdim=True).clamp_min(EPS)


def _gram_matrices(embeddings, targets, weights):
    """V'V [B, D, D], V'Y [B, D, C] and the diagonal of Y'Y [B, C], weighted.

    The weight w of a bin enters once in each product, which is the same as
    scaling its rows of V and Y by sqrt(w). Only embeddings have a gradient.
    """
    v = embeddings.float().flatten(1, -2)  # [B, L * F, D], F runs faster
    y = targets.detach().float().flatten(1, -2)  # [B, L * F, C]
    w = _normalised(weights.detach()).unsqueeze(-1)
    # V'W [V, Y] in one product, with V as a constant on the right: V'WV is
    # symmetric, so its slope is that of the left factor and its transpose.
    size = v.shape[-1]
    weighted = v.new_empty(*v.shape[:2], size + y.shape[-1])
    torch.mul(v.detach(), w, out=weighted[..., :size])
    torch.mul(y, w, out=weighted[..., size:])
    vv, vy = (v.transpose(1, 2) @ weighted).tensor_split([size], dim=-1)
    vv = vv + (vv - vv.detach()).transpose(1, 2)
    return vv, vy, weighted[..., size:].sum(dim=1)


def dpcl_loss(embeddings, targets, weights):
    """Deep-clustering loss in its low-rank form.

    ||W(VV' - YY')W||^2 with W = diag(sqrt(w)), computed as
    ||V'WV||^2 - 2 ||V'WY||^2 + ||Y'WY||^2 (Hershey et al., arXiv 1508.04306,
    eq. 1; weights of Wang, Le Roux & Hershey, ICASSP 2018). For balanced
    speakers it is 0 for perfect embeddings, 1 - 1/C for equal ones and about
    1/D + 1/C for random ones.

    Arguments
    ---------
    embeddings : torch.Tensor, [B, L, F, D]
        Of unit norm over D.
    targets : torch.Tensor, [B, L, F, C]
        One-hot assignment of bins to speakers.
    weights : torch.Tensor, [B, L, F]
        Non-negative; normalised here to sum to 1 per utterance.

    Returns
    -------
    torch.Tensor, [B]; 0 for an utterance without any weight

    Example
    -------
    >>> y = torch.eye(2).reshape(1, 1, 2, 2)
    >>> dpcl_loss(y, y, torch.ones(1, 1, 2))
    tensor([0.])
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        vv, vy, yy = _gram_matrices(embeddings, targets, weights)
        return (
            vv.square().sum(dim=(1, 2))
            - 2 * vy.square().sum(dim=(1, 2))
            + yy.square().sum(dim=1)
        )


def whitened_dpcl_loss(embeddings, targets, weights, ridge=1e-4):
    """Whitened k-means loss for deep clustering.

    D - tr[(V'V)^-1 V'Y (Y'Y)^-1 Y'V] (Wang, Le Roux & Hershey, "Alternative
    objective functions for deep clustering", ICASSP 2018, eq. 11). It lies
    between D - C (the embeddings span the targets) and D.

    Arguments
    ---------
    embeddings : torch.Tensor, [B, L, F, D]
    targets : torch.Tensor, [B, L, F, C]
    weights : torch.Tensor, [B, L, F]
    ridge : float
        Added to the diagonal of V'V, whose trace is 1 for unit embeddings.

    Returns
    -------
    torch.Tensor, [B]; 0 for an utterance without any weight

    Example
    -------
    >>> y = torch.eye(2).reshape(1, 1, 2, 2)
    >>> whitened_dpcl_loss(y, y, torch.ones(1, 1, 2)).round(decimals=2)
    tensor([0.])
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        vv, vy, yy = _gram_matrices(embeddings, targets, weights)
        size = vv.shape[-1]
        vv = vv + ridge * torch.eye(size, device=vv.device)
        # A Cholesky solve of D x D systems: torch.linalg.solve hangs on
        # batches of large ones on some CPUs.
        solved = torch.cholesky_solve(vy, torch.linalg.cholesky(vv))
        explained = (vy * solved).sum(dim=1) / yy.clamp_min(EPS)  # [B, C]
        active = yy.sum(dim=1) > 0
        return active * (size - explained.sum(dim=1))


def sample_mask(length, lengths, device):
    """1 for valid samples, 0 for padding, [B, T]; None when all are valid."""
    if lengths is None:
        return None
    steps = torch.arange(length, device=device)
    return (steps < lengths.unsqueeze(1)).float()


def pairwise_si_snr(estimates, sources, lengths=None, limit_db=None):
    """SI-SNR of every estimate against every source.

    Zero-mean scale-invariant SNR, 10 log10(|s_t|^2 / |e - s_t|^2) with s_t
    the projection of estimate e on source s (Le Roux et al., arXiv
    1811.02508).

    Arguments
    ---------
    estimates : torch.Tensor, [B, C, T]
    sources : torch.Tensor, [B, C, T]
    lengths : torch.Tensor, [B], optional
        Valid samples; what lies beyond them does not count.
    limit_db : float, optional
        Soft upper limit: |s_t|^2 times 10^(-limit_db / 10) is added to the
        noise (Wisdom et al., arXiv 2011.00803).

    Returns
    -------
    torch.Tensor, [B, C, C], in dB: entry i, j is of estimate i against
    source j. Meaningless, though finite, for a silent source.
    """
    with torch.autocast(estimates.device.type, enabled=False):
        estimates, sources = estimates.float(), sources.float()
        mask = sample_mask(sources.shape[-1], lengths, sources.device)
        estimates = _zero_mean(estimates, mask)
        sources = _zero_mean(sources, mask)
        # No matrix product, which a GPU may round to the 10 bits of TF32.
        dot = (estimates.unsqueeze(2) * sources.unsqueeze(1)).sum(dim=-1)
        source_power = sources.square().sum(dim=-1).unsqueeze(1)
        estimate_power = estimates.square().sum(dim=-1).unsqueeze(2)
        signal = dot.square() / source_power.clamp_min(TINY)
        # |e - s_t|^2 = |e|^2 - |s_t|^2, as the two are orthogonal. In fp32
        # that difference is exact to about 60 dB, beyond any separation.
        noise = (estimate_power - signal).clamp_min(0)
        if limit_db is not None:
            noise = noise + 10 ** (-limit_db / 10) * signal
        # A floor relative to the estimate bounds the score at +-80 dB and
        # scores quiet recordings as loud ones; a silent estimate gets -80.
        floor = EPS * estimate_power
        ratio = (signal + floor + EPS * TINY) / (noise + floor + TINY)
        return 10 * torch.log10(ratio)


def _zero_mean(x, mask):
    """Remove the mean over the valid samples and silence the padding."""
    if mask is None:
        return x - x.mean(dim=-1, keepdim=True)
    mask = mask.unsqueeze(1)
    count = mask.sum(dim=-1, keepdim=True).clamp_min(1)
    return (x - (x * mask).sum(dim=-1, keepdim=True) / count) * mask


def best_permutation(scores):
    """The assignment of estimates to sources with the largest total score.

    All permutations up to three speakers, the Hungarian algorithm beyond.

    Arguments
    ---------
    scores : torch.Tensor, [B, C, C]
        Entry i, j for giving estimate i to source j.

    Returns
    -------
    torch.Tensor, [B, C], int64: the estimate for each source, so that
    `estimates[b, permutation[b]]` is in the order of the sources

    Example
    -------
    >>> best_permutation(torch.tensor([[[0.0, 9.0], [8.0, 0.0]]]))
    tensor([[1, 0]])
    """
    count = scores.shape[-1]
    if count > 3:
        # NaN scores, of a step that will be skipped, must not end the run.
        finite = scores.detach().nan_to_num(nan=-1e9).cpu().numpy()
        pairs = [linear_sum_assignment(s.T, maximize=True)[1] for s in finite]
        return torch.from_numpy(np.stack(pairs)).to(scores.device)
    candidates = _permutations(count, scores.device)
    sources = torch.arange(count, device=scores.device)
    totals = scores[:, candidates, sources].sum(dim=-1)  # [B, P]
    return candidates[totals.argmax(dim=-1)]


@functools.cache  # on a GPU, sending them in each step would be a wait
def _permutations(count, device):
    """All orders of so many sources, [P, C]."""
    orders = list(itertools.permutations(range(count)))
    return torch.tensor(orders, device=device)


def pit_si_snr_loss(estimates, sources, lengths=None, limit_db=None):
    """Negative SI-SNR under the best permutation (utterance-level PIT).

    Kolbaek et al., arXiv 1703.06284; silent sources, for which SI-SNR is not
    defined, do not count.

    Arguments
    ---------
    estimates : torch.Tensor, [B, C, T]
    sources : torch.Tensor, [B, C, T]
    lengths : torch.Tensor, [B], optional
        Valid samples.
    limit_db : float, optional
        See `pairwise_si_snr`. A single speaker's mixture is its own perfect
        estimate: without a limit it would outweigh all others.

    Returns
    -------
    loss : torch.Tensor, [B], in dB; 0 where all sources are silent
    permutation : torch.Tensor, [B, C]
        The estimate for each source.

    Example
    -------
    >>> sources = torch.randn(3, 2, 800)
    >>> loss, permutation = pit_si_snr_loss(sources.flip(1), sources)
    >>> permutation[0]
    tensor([1, 0])
    """
    audible = audible_sources(sources, lengths)
    scores = pairwise_si_snr(estimates, sources, lengths, limit_db)
    scores = scores * audible.unsqueeze(1)
    permutation = best_permutation(scores.detach())
    best = scores.gather(1, permutation.unsqueeze(1)).squeeze(1)  # [B, C]
    return -best.sum(dim=-1) / audible.sum(dim=-1).clamp_min(1), permutation


def audible_sources(sources, lengths=None):
    """Which sources are not silent.

    Arguments
    ---------
    sources : torch.Tensor, [B, C, T]
    lengths : torch.Tensor, [B], optional
        Valid samples.

    Returns
    -------
    torch.Tensor, [B, C], bool
    """
    mask = sample_mask(sources.shape[-1], lengths, sources.device)
    return _zero_mean(sources.float(), mask).square().sum(dim=-1) > EPS


def level_loss(estimates, sources, permutation, lengths=None, floor_db=30.0):
    """How far the levels of the estimates are from those of the sources.

    |10 log10((|e|^2 / P + f) / (|s|^2 / P + f))|, P the power of all sources
    and f = 10^(-floor_db / 10), the mean over the outputs of a mixture. An
    estimate without a speaker is to be silent, as by the loss of Wisdom et
    al., arXiv 2011.00803; the others are held to their voice's level, of which
    SI-SNR knows nothing. Without that a model can make one output so loud
    that beside it all others pass for silent.

    Arguments
    ---------
    estimates : torch.Tensor, [B, C, T]
    sources : torch.Tensor, [B, C, T]
    permutation : torch.Tensor, [B, C]
        The estimate for each source, of `pit_si_snr_loss`.
    lengths : torch.Tensor, [B], optional
        Valid samples.
    floor_db : float
        An estimate this far below all sources together is silent enough.

    Returns
    -------
    torch.Tensor, [B], in dB; 0 where all sources are silent

    Example
    -------
    >>> voice = torch.randn(1, 800)
    >>> sources = torch.stack([voice, 0 * voice], dim=1)
    >>> estimates = torch.stack([voice, voice], dim=1)
    >>> level_loss(estimates, sources, torch.tensor([[0, 1]])).round()
    tensor([15.])
    """
    with torch.autocast(estimates.device.type, enabled=False):
        mask = sample_mask(sources.shape[-1], lengths, sources.device)
        wanted = _zero_mean(sources.float(), mask).square().sum(dim=-1)
        heard = _zero_mean(estimates.float(), mask).square().sum(dim=-1)
        heard = heard.gather(1, permutation)  # in the order of the sources
        total = wanted.sum(dim=-1, keepdim=True).clamp_min(TINY)
        floor = 10 ** (-floor_db / 10)
        ratio = (heard / total + floor) / (wanted / total + floor)
        levels = 10 * torch.log10(ratio).abs()  # [B, C]
        return levels.mean(dim=-1) * (wanted > EPS).any(dim=-1)
