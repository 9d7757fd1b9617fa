"""What training leaves open, fitted on examples afterwards."""

import numpy as np
import torch

from ..model.losses import audible_sources
from .counting import calibrate
from .gains import TINY, fit_gains


@torch.no_grad()
def calibrated(unmixer, dataset, limit=64):
    """Fit what training leaves open, on examples.

    That is the scale of the mask head's outputs and, where there is an
    embedding head, how to count speakers. Each example is heard with one,
    two, ... of its speakers.

    Arguments
    ---------
    unmixer : Unmixer
    dataset : Dataset
        Items with `mixture` [T] and `sources` [T, C].
    limit : int
        Items to listen to.

    Returns
    -------
    dict
        `output_gains` and `speaker_counting` of an `Unmixer`, empty where
        there is no such head or not enough to learn from.
    """
    device = next(unmixer.separator.parameters()).device
    has_masks, has_embeddings = (
        name in unmixer.separator.heads for name in ("masks", "kmeans")
    )
    products, scores, counts = [], [], []
    # Spread over the set, which may be sorted by speakers or their number.
    chosen = np.linspace(0, len(dataset) - 1, min(limit, len(dataset)))
    for index in chosen.astype(int).tolist():
        item = dataset[index]
        sources = item["sources"].T.to(device)
        sources = sources[audible_sources(sources[None])[0]]
        for count in range(1, len(sources) + 1):
            mixture = sources[:count].sum(dim=0)
            if count == len(sources):  # with its noise
                mixture = item["mixture"].to(device)
            (separated,) = unmixer.separator.separate_each([mixture])
            if has_masks:
                products.append(_products(mixture, separated.estimates[0]))
            if has_embeddings:
                score = unmixer.speaker_score(mixture, separated.embeddings)
                scores.append(score)
                counts.append(count)
    gains = []
    if products:
        gram, product = (sum(each) for each in zip(*products, strict=True))
        gains = fit_gains(gram, product).tolist()
    boundaries = calibrate(scores, counts, unmixer.num_spks)
    return {"output_gains": gains, "speaker_counting": boundaries}


def _products(mixture, estimates):
    """What `fit_gains` needs of a mixture, each of which counts alike."""
    e, x = estimates.double(), mixture.double()
    power = (x @ x).clamp_min(TINY)
    return e @ e.T / power, e @ x / power
