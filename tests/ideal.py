"""Separators whose estimates and embeddings tests decide."""

import numpy as np
import torch
import torch.nn.functional as F

from dpcl_dprnn.model.encoders import STFTDecoder, STFTEncoder
from dpcl_dprnn.model.separator import Separator
from dpcl_dprnn.model.targets import dominant_source
from dpcl_dprnn.unmixing.counting import counting_features
from dpcl_dprnn.unmixing.unmixer import Unmixer

N_FFT, HOP = 64, 16


class Ideal(torch.nn.Module):
    """A model without weights, only to declare heads."""

    has_masks = True
    embedding_head = "ideal"


def ideal_unmixer(num_spks, **options):
    pair = STFTEncoder(N_FFT, HOP), STFTDecoder(N_FFT, HOP)
    separator = Separator(pair[0], Ideal(), pair[1])
    options = {"output_gains": [1.0] * num_spks, **options}
    return Unmixer(separator, num_spks, **options)


def ideal_counting(most, has_masks=True):
    """Weights of `counting.calibrate` that tell equally loud speakers by ideal
    embeddings, and ideal outputs.
    """
    rows = []
    for count in range(1, most + 1):
        shares = np.r_[np.ones(count), np.zeros(most + 1 - count)] / count
        middle = counting_features(shares, shares[:most] * has_masks)
        middle = middle[: most + 1 + most * has_masks]
        rows.append(np.r_[-middle @ middle / 2, middle])
    return np.array(rows).tolist()


def tones(*frequencies, length=800):
    time = torch.arange(length) / 8000
    waves = [torch.sin(2 * torch.pi * f * time) for f in frequencies]
    return torch.stack(waves) * torch.linspace(0.1, 0.2, len(waves))[:, None]


def ideal_embeddings(unmixer, sources):
    """The owner of each bin, as a direction of 8; where there is none, any."""
    owners = dominant_source(unmixer.separator.grid_encoder(sources)[None])
    nobody = owners.sum(dim=-1, keepdim=True) == 0
    owners = owners + nobody * torch.eye(owners.shape[-1])[0]
    return F.pad(owners, (0, 8 - owners.shape[-1]))
