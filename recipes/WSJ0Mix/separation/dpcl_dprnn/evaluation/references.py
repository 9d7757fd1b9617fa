"""The speakers of a mixture as they are: who is heard, how loud, and how well
an ideal mask would separate them.
"""

import numpy as np

from ..model.encoders import STFTDecoder, STFTEncoder
from ..model.losses import audible_sources
from ..model.targets import dominant_source


def audible(sources):
    """Those of sources [C, T] that are not silent; the first if all are."""
    heard = audible_sources(sources[None])[0]
    return sources[heard] if heard.any() else sources[:1]


def level_difference(sources):
    """By how much the loudest speaker is above the softest one, in dB.

    NaN for a single speaker.
    """
    power = np.square(sources, dtype=np.float64).sum(axis=1)
    if len(power) < 2:
        return float("nan")
    return float(10 * np.log10(power.max() / power.min()))


def ideal_voices(mixture, sources, sample_rate):
    """What the ideal binary mask gives, the ceiling of binary masks.

    On an STFT with windows of 32 ms and a hop of 8 ms.

    Arguments
    ---------
    mixture : torch.Tensor, [T]
    sources : torch.Tensor, [C, T]
    sample_rate : int

    Returns
    -------
    torch.Tensor, [C, T]
    """
    n_fft, hop = sample_rate * 4 // 125, sample_rate // 125
    encoder = STFTEncoder(n_fft, hop).to(sources.device)
    decoder = STFTDecoder(n_fft, hop).to(sources.device)
    masks = dominant_source(encoder(sources)[None])[0].permute(2, 1, 0)
    return decoder(masks * encoder(mixture[None]), len(mixture))
