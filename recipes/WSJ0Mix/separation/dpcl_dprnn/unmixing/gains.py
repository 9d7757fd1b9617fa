"""Estimates to voices: their scale, their sum, and which belong together.

Axis letters are in model.py.
"""

import torch
import torch.nn.functional as F

from ..model.targets import bin_weights, power_of

RIDGE = 0.01  # beside the squared cosines of estimates and themselves, 1
TINY = 1e-20


def loudest(estimates, count):
    """The loudest estimates, in the order in which they were.

    Arguments
    ---------
    estimates : torch.Tensor, [C, T]
    count : int

    Returns
    -------
    torch.Tensor, [count, T]

    Example
    -------
    >>> loudest(torch.tensor([[3.0], [1.0], [2.0]]), 2).flatten()
    tensor([3., 2.])
    """
    chosen = estimates.square().sum(dim=-1).topk(count).indices
    return estimates[chosen.sort().values]


def to_scale(mixture, estimates):
    """Bring estimates to the scale at which their sum fits the mixture best.

    SI-SNR leaves the scale of each estimate free, even its sign. A ridge
    keeps the gains of estimates that resemble one another sensible.

    Arguments
    ---------
    mixture : torch.Tensor, [T]
    estimates : torch.Tensor, [C, T]

    Returns
    -------
    torch.Tensor, [C, T]

    Example
    -------
    >>> voices = torch.tensor([[0.5, 0.0, 0.0], [0.0, -0.25, 0.0]])
    >>> scales = torch.tensor([[10.0], [-20.0]])
    >>> to_scale(voices.sum(dim=0), scales * voices).round(decimals=2)
    tensor([[ 0.5000,  0.0000,  0.0000],
            [ 0.0000, -0.2500,  0.0000]])
    """
    e = estimates.double()
    gains = fit_gains(e @ e.T, e @ mixture.double())
    return gains.to(estimates).unsqueeze(1) * estimates


def fit_gains(gram, products):
    """The gains of estimates with which their sum fits the mixture best.

    Arguments
    ---------
    gram : torch.Tensor, [C, C], float64
        Products of the estimates with one another, summed over mixtures.
    products : torch.Tensor, [C], float64
        Of the estimates with the mixture.

    Returns
    -------
    torch.Tensor, [C], float64; 0 for a silent estimate
    """
    norms = gram.diagonal().sqrt()
    scales = torch.where(norms > 0, 1 / norms.clamp_min(TINY), 0.0)
    cosines = scales[:, None] * gram * scales
    ridge = RIDGE * torch.eye(len(gram), device=gram.device)
    # A Cholesky solve: torch.linalg.solve hangs on some CPUs.
    root = torch.linalg.cholesky(cosines.double() + ridge)
    solved = torch.cholesky_solve((scales * products)[:, None], root)
    return scales * solved[:, 0]


def make_consistent(mixture, estimates):
    """Make estimates at its scale sum to the mixture.

    What is missing goes to each in proportion to its power, so that a silent
    one stays silent (mixture consistency, Wisdom et al., arXiv 1811.08521,
    with such weights).

    Arguments
    ---------
    mixture : torch.Tensor, [T]
    estimates : torch.Tensor, [C, T]

    Returns
    -------
    torch.Tensor, [C, T]

    Example
    -------
    >>> estimates = torch.tensor([[0.9], [0.0]])
    >>> make_consistent(torch.tensor([1.0]), estimates).round(decimals=3)
    tensor([[1.],
            [0.]])
    """
    power = estimates.square().sum(dim=-1, keepdim=True) + TINY
    return estimates + power / power.sum(dim=0) * (
        mixture - estimates.sum(dim=0)
    )


def voice_embeddings(separator, voices, embeddings, threshold_db=40.0):
    """The embeddings of the bins of each voice, summed.

    A bin belongs to voices in proportion to their power in it.

    Arguments
    ---------
    separator : separator.Separator
        For its grid.
    voices : torch.Tensor, [C, T]
    embeddings : torch.Tensor, [L, F, D]
    threshold_db : float
        See `targets.bin_weights`, by which bins are weighted. The weights of
        all bins sum to 1.

    Returns
    -------
    torch.Tensor, [C, D]; zeros for a silent voice
    """
    encoded = separator.grid_encoder(voices)  # [C, F, L]
    power = power_of(encoded)
    shares = power / power.sum(dim=0).clamp_min(1e-20)
    weights = bin_weights(encoded.sum(dim=0, keepdim=True), threshold_db)[0]
    weights = weights / weights.sum().clamp_min(1e-20)
    owned = (shares.transpose(1, 2) * weights).flatten(1)  # [C, L * F]
    return owned @ embeddings.float().flatten(0, 1)


def group_alike(sums, count):
    """Which pieces are of one voice: those whose embeddings are most alike.

    A system for three speakers hears three in a mixture of two, one of them
    in pieces.

    Arguments
    ---------
    sums : torch.Tensor, [P, D]
        Of `voice_embeddings`, of each piece.
    count : int
        Voices, C.

    Returns
    -------
    torch.Tensor, [P], int64
        The voice of each piece, from 0 to C - 1.

    Example
    -------
    >>> group_alike(torch.tensor([[1.0, 0.1], [0.0, 1.0], [2.0, 0.0]]), 2)
    tensor([0, 1, 0])
    """
    groups, sums = [[index] for index in range(len(sums))], list(sums)
    while len(groups) > count:
        directions = F.normalize(torch.stack(sums), dim=1)
        likeness = directions @ directions.T
        silent = torch.stack(sums).norm(dim=1) == 0  # joins first
        likeness[silent] = likeness[:, silent] = 2.0
        rows, columns = torch.tril_indices(len(sums), len(sums), -1)
        best = int(likeness[rows, columns].argmax())
        gone, kept = int(rows[best]), int(columns[best])
        groups[kept] += groups.pop(gone)
        sums[kept] = sums[kept] + sums.pop(gone)
    voices = torch.zeros(sum(map(len, groups)), dtype=torch.int64)
    for voice, pieces in enumerate(groups):
        voices[pieces] = voice
    return voices


def add_up(pieces, voices, count):
    """Add the pieces of each voice together.

    Arguments
    ---------
    pieces : torch.Tensor, [P, T]
    voices : torch.Tensor, [P], int64
        Of `group_alike`.
    count : int
        Voices, C.

    Returns
    -------
    torch.Tensor, [C, T]

    Example
    -------
    >>> pieces = torch.tensor([[1.0], [2.0], [4.0]])
    >>> add_up(pieces, torch.tensor([0, 1, 0]), 2).flatten()
    tensor([5., 2.])
    """
    total = pieces.new_zeros(count, *pieces.shape[1:])
    return total.index_add(0, voices.to(pieces.device), pieces)
