"""What gradients are made of, and how long they may be.

By itself, as the engine is long enough without.
"""

import collections

import numpy as np
import torch

WINDOW = 512  # steps whose norms tell what is usual
FEWEST = 16  # before which it is not known


class AutoClip:
    """Clips gradients to what is usual (Seetharaman et al., arXiv 2007.14469): a
    quantile of the `norms` of the last 512 steps, which the caller adds. Without
    a quantile, gradients may have any.

    Example
    -------
    >>> clip = AutoClip(quantile=0.5)
    >>> clip.norms.extend(range(21))
    >>> clip.limit(most=99.0), clip.limit(most=5.0)
    (10.0, 5.0)
    """

    def __init__(self, quantile=None):
        self.quantile = quantile
        self.norms = collections.deque(maxlen=WINDOW)

    def limit(self, most):
        """The norm that the next gradient is clipped to, at most `most`."""
        if self.quantile is None or len(self.norms) < FEWEST:
            return most
        return min(most, float(np.quantile(self.norms, self.quantile)))


def gradient_shares(parts, parameters):
    """What each part of a loss, a scalar tensor, adds to the gradient of their
    sum: g_i . g / |g|^2, where g is the sum of all g_i.

    The shares sum to 1, and one that is below 0 works against the others. There
    are none where there are no two parts, or the gradient is zero or not
    finite. The graph is kept, so that the sum can still be differentiated.

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
