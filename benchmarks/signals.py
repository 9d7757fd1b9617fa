"""Sounds to compute with: noise with the rhythm of speech."""

import torch


def voices(batch, speakers, samples, rate=8000, seed=0):
    """Noise [B, C, T] that comes and goes in syllables, 3 to 5 a second.

    Example
    -------
    >>> voices(2, 3, 800).shape
    torch.Size([2, 3, 800])
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, speakers, 1)
    syllables = 3 + 2 * torch.rand(shape, generator=generator)  # a second
    start = torch.rand(shape, generator=generator)
    turns = syllables * torch.arange(samples) / rate + start
    noise = torch.randn(batch, speakers, samples, generator=generator)
    return 0.1 * noise * torch.sin(torch.pi * turns).square()
