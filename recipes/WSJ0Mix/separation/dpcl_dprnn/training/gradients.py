"""What the parts of a loss do to its gradient."""

import torch


def gradient_shares(parts, parameters):
    """What each part of a loss adds to the gradient of their sum.

    The graph is kept, so that the sum can still be differentiated.

    Arguments
    ---------
    parts : dict of str to torch.Tensor, scalars
    parameters : list of torch.nn.Parameter

    Returns
    -------
    dict of str to float
        g_i . g / |g|^2 of each part, where g is the sum of all g_i: they sum
        to 1, and one that is below 0 works against the others. Empty where
        there are no two parts, or the gradient is zero or not finite.

    Example
    -------
    >>> x = torch.ones(1, requires_grad=True)
    >>> gradient_shares({"a": 3 * x.sum(), "b": x.sum()}, [x])
    {'a': 0.75, 'b': 0.25}
    """
    if len(parts) < 2:
        return {}
    gradients = [
        torch.autograd.grad(
            part, parameters, retain_graph=True, materialize_grads=True
        )
        for part in parts.values()
    ]
    flat = torch.stack(
        [torch.cat([g.flatten() for g in each]) for each in gradients]
    )
    whole = flat.sum(dim=0)
    shares = flat @ whole / (whole @ whole)
    if not torch.isfinite(shares).all():
        return {}
    return dict(zip(parts, shares.tolist(), strict=True))
