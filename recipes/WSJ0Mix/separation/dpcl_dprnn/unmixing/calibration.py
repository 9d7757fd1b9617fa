"""What is fitted to examples after training: gains, how to count speakers, what
improvement to expect, and which head is the better.
"""

import dataclasses

import numpy as np
import torch

from ..model.losses import audible_sources, pit_si_snr_loss
from .counting import calibrate
from .expectation import fit_line
from .gains import TINY, fit_gains


@torch.no_grad()
def calibrated(unmixer, dataset, limit=100):
    """Fit what training leaves open, on examples.

    That is the scale of the mask head's outputs; where there is an embedding
    head, how to count speakers and what improvement to expect; and which of
    two heads is the better. Each example is heard with one, two, ... of its
    speakers; where few of them have as many as can be counted, others that
    have are heard too, for the counting.

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
        `output_gains`, `speaker_counting`, `best_head` and
        `expected_improvement` of an `Unmixer`, empty where there is no such
        head or not enough to learn from.
    """
    device = next(unmixer.separator.parameters()).device
    has_masks, has_embeddings = (
        name in unmixer.separator.heads for name in ("masks", "kmeans")
    )
    products, features, counts = [], [], []
    # Spread over the set, which may be sorted by speakers or their number.
    chosen = np.linspace(0, len(dataset) - 1, min(limit, len(dataset)))
    most = unmixer.num_spks
    for whole, sources, further in _examples_to_count(
        dataset, chosen, device, most if has_embeddings else None
    ):
        for count in range(1, len(sources) + 1):
            mixture = sources[:count].sum(dim=0)
            if count == len(sources):  # with its noise
                mixture = whole
            (separated,) = unmixer.separator.separate_each([mixture])
            if has_masks and not further:
                products.append(_products(mixture, separated.estimates[0]))
            if has_embeddings:
                found = unmixer.counting_features(mixture, separated)
                if found is not None:
                    features.append(found)
                    counts.append(count)
    gains = []
    if products:
        gram, product = (sum(each) for each in zip(*products, strict=True))
        gains = fit_gains(gram, product).tolist()
    fitted = {
        "output_gains": gains,
        "speaker_counting": calibrate(features, counts, most),
    }
    unmixer = dataclasses.replace(unmixer, **fitted)
    examples = _examples(dataset, chosen, device)
    return {**fitted, **judge(unmixer, examples)}


def _examples(dataset, chosen, device):
    """Mixtures [T] and their audible sources [C, T]."""
    for index in chosen.astype(int).tolist():
        item = dataset[index]
        sources = item["sources"].T.to(device)
        audible = audible_sources(sources[None])[0]
        yield item["mixture"].to(device), sources[audible]


def _examples_to_count(dataset, chosen, device, most):
    """The chosen examples and then, where less than half of them have the most
    speakers, further ones that do, each with whether it is further.
    """
    missing = len(chosen) // 2 if most else 0
    for whole, sources in _examples(dataset, chosen, device):
        missing -= len(sources) == most
        yield whole, sources, False
    rest = np.setdiff1d(np.arange(len(dataset)), chosen.astype(int))
    rest = np.random.default_rng(0).permutation(rest)[:1000]
    examples = _examples(dataset, rest, device)
    while missing > 0 and (example := next(examples, None)) is not None:
        whole, sources = example
        if len(sources) == most:
            missing -= 1
            yield whole, sources, True


def judge(unmixer, examples):
    """How well each head separates, and whether the embeddings tell.

    Arguments
    ---------
    unmixer : Unmixer
    examples : iterable of (torch.Tensor, torch.Tensor)
        A mixture [T] and its sources [C, T].

    Returns
    -------
    dict
        `best_head` of an `Unmixer`, that of the higher mean SI-SNR, empty where
        there are not two; and `expected_improvement`, without the heads that
        `fit_line` has no line for. Both are empty where no example has more
        than one source.
    """
    heads = unmixer.separator.heads
    improvements, told = ({head: [] for head in heads} for _ in range(2))
    for mixture, sources in examples if "kmeans" in heads else ():
        if len(sources) < 2:
            continue
        (separated,) = unmixer.separator.separate_each([mixture])
        unseparated, _ = pit_si_snr_loss(
            mixture.expand(1, *sources.shape), sources[None]
        )
        for head in heads:
            unmixed = unmixer.unmix(mixture, separated, len(sources), head)
            loss, _ = pit_si_snr_loss(unmixed.voices[None], sources[None])
            improvement = (unseparated - loss).item()
            improvements[head].append(improvement)
            likeness = unmixer.expectation(head, unmixed.sums).likeness
            if likeness is not None:
                told[head].append((likeness, improvement))
    best_head = ""
    if len(heads) > 1 and any(improvements.values()):
        best_head = max(heads, key=lambda head: np.mean(improvements[head]))
    lines = {head: fit_line(pairs) for head, pairs in told.items()}
    return {
        "best_head": best_head,
        "expected_improvement": {h: line for h, line in lines.items() if line},
    }


def _products(mixture, estimates):
    """What `fit_gains` needs of a mixture, each of which counts alike."""
    e, x = estimates.double(), mixture.double()
    power = (x @ x).clamp_min(TINY)
    return e @ e.T / power, e @ x / power
