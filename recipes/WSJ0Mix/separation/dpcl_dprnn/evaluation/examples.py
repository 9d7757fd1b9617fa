"""Utterances that a report shows: their signals, voices and embeddings."""

import math
import pathlib
import shutil

import numpy as np
import torch

from ..common.files import atomic_path
from ..model.targets import bin_weights, dominant_source
from .speakers import audible

POINTS = 1500  # embeddings to keep of each


def write_examples(evaluation, dataset):
    """Keep the best, the median and the worst utterance of a test set, by its
    `scoring.Evaluation`, as NumPy archives in `output_folder`/examples.
    """
    folder = pathlib.Path(evaluation.folder, "examples")
    shutil.rmtree(folder, ignore_errors=True)
    chosen = choose_examples(next(iter(evaluation.scores.values())))
    for number, (name, kind) in enumerate(chosen.items(), start=1):
        example = make_example(evaluation, find_item(dataset, name))
        with atomic_path(folder / f"{number}_{kind}.npz") as path:
            np.savez_compressed(path, kind=kind, **example)


@torch.no_grad()
def make_example(evaluation, item):
    """What is kept of an utterance, an item of a dataset: `name`, `rate`,
    `mixture` [T], `sources` [C, T], the voices of each head [C, T], and of a
    sample of bins the `embeddings` [P, D] and `speakers` [P].
    """
    unmixer = evaluation.unmixer
    device = next(unmixer.separator.parameters()).device
    mixture, sources = item["mixture"].to(device), audible(item["sources"].T)
    (separated,) = unmixer.separator.separate_each([mixture])
    example = {
        "name": item["id"],
        "rate": evaluation.sample_rate,
        "mixture": mixture.cpu().numpy(),
        "sources": sources.numpy(),
        **evaluation.voices(mixture, sources.numpy(), separated),
    }
    if separated.embeddings is not None:
        grid = unmixer.separator.grid_encoder
        weights = bin_weights(grid(mixture[None]), unmixer.threshold_db)[0]
        owners = dominant_source(grid(sources.to(device))[None])[0]  # [L, F, C]
        active = ((weights > 0) & owners.any(dim=-1)).nonzero()
        step = max(1, len(active) // POINTS)
        frames, bins = active[::step].T
        embeddings = separated.embeddings[0, frames, bins].float()
        speakers = owners[frames, bins].argmax(dim=-1)
        example["embeddings"] = embeddings.cpu().numpy()
        example["speakers"] = speakers.cpu().numpy()
    return example


def find_item(dataset, name):
    """The item of a name in a dataset."""
    if hasattr(dataset, "data_ids"):  # SpeechBrain's
        return dataset[dataset.data_ids.index(name)]
    items = (dataset[index] for index in range(len(dataset)))
    return next(item for item in items if item["id"] == name)


def choose_examples(utterances):
    """The names of the best, the median and the worst utterances, with their
    kinds, by the scores of each.

    Example
    -------
    >>> choose_examples({name: {"si-snr_i": n} for n, name in enumerate("abc")})
    {'c': 'best', 'b': 'median', 'a': 'worst'}
    """
    gains = {name: scores["si-snr_i"] for name, scores in utterances.items()}
    defined = [name for name, gain in gains.items() if math.isfinite(gain)]
    ranked = sorted(defined, key=gains.get)
    chosen = {}
    if ranked:
        chosen[ranked[-1]] = "best"
        chosen.setdefault(ranked[len(ranked) // 2], "median")
        chosen.setdefault(ranked[0], "worst")
    return chosen
