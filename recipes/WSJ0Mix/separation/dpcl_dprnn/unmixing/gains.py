"""The scale of estimates, and their sum. Axis letters are in model.py."""

import torch

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
