"""Weights that are better than those of any one step."""

import torch
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)


@register_checkpoint_hooks
class AveragedWeights:
    """An exponential average of a module's weights, which often separates
    better than the weights of any one step (Polyak & Juditsky, 1992).

    Arguments
    ---------
    decay : float, optional
        Of the average in each step, at most: in step n it is (1 + n) / (10 + n)
        where that is less, so that the initial weights are soon forgotten.
        Without, nothing is averaged; what was read is exchanged all the same.

    Example
    -------
    >>> layer, averaged = torch.nn.Linear(1, 1), AveragedWeights(decay=0.5)
    >>> averaged.follow(layer)
    >>> _ = layer.weight.data.fill_(1.0)
    >>> averaged.update()
    """

    def __init__(self, decay=None):
        self.decay = decay
        self.steps = 0
        self.average = None  # of each parameter

    def follow(self, module):
        """Average the weights of a module from now on, on its device."""
        self.module = module

    @torch.no_grad()
    def update(self):
        """Take a step of the module's weights into the average."""
        if self.decay is None:
            return
        weights = list(self.module.parameters())
        if self.average is None:  # on the device where the module is by now
            self.average = [weight.clone() for weight in weights]
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, weights, 1 - decay)

    @torch.no_grad()
    def exchange(self):
        """Let the module and the average change places; twice is nothing."""
        if self.average is None:
            return
        weights = list(self.module.parameters())
        for weight, mean in zip(weights, self.average, strict=True):
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)

    @mark_as_saver
    def save(self, path):
        """Write the average, by the parameters' names, and its steps."""
        names = [name for name, _ in self.module.named_parameters()]
        means = dict(zip(names, self.average or (), strict=False))
        torch.save({"steps": self.steps, "average": means}, path)

    @mark_as_loader
    def load(self, path, end_of_epoch=True):
        """Read what `save` wrote, to the devices of the parameters."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.steps = state["steps"]
        self.average = [
            state["average"][name].to(weight.device)
            for name, weight in self.module.named_parameters()
            if name in state["average"]
        ] or None
