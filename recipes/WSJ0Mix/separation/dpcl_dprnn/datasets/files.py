"""Data sets of the files that manifests list."""

import math
import pathlib
import zlib

import numpy as np
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.data_pipeline import provides, takes

from ..common.errors import UserError
from ..sound.audio import read_audio
from ..sound.rumble import without_rumble


def mixture_dataset(
    manifest,
    num_spks,
    sample_rate,
    crop=None,
    data_folder="",
    seed=0,
    epoch_counter=None,
):
    """A dataset of mixtures and their sources.

    Arguments
    ---------
    manifest : str or Path
        CSV of `manifests.prepare_manifests`.
    num_spks : int
        Number of speakers, C.
    sample_rate : int
        Sampling rate in Hz.
    crop : int, optional
        Samples of a random piece to take of each utterance that is longer.
    data_folder : str
        What `$data_root` stands for in the manifest.
    seed : int
        Decides, with the epoch and the ID, where the piece begins.
    epoch_counter : object, optional
        Its `current` is the number of the epoch; 0 without.

    Returns
    -------
    speechbrain.dataio.dataset.DynamicItemDataset
        Items `id`, `mixture` [T] and `sources` [T, C], float32, the mixture
        `without_rumble` and so are sources with a `crop`; those that the
        manifest has no path of are silent.
    """
    columns = ["id", "duration", "mix_wav"]
    columns += [f"s{k + 1}_wav" for k in range(num_spks)]

    @takes(*columns)
    @provides("mixture", "sources")
    def _load(name, duration, *paths):
        start, frames = 0, -1
        if crop is not None:
            total = round(float(duration) * sample_rate)
            frames = min(crop, total)
            epoch = 0 if epoch_counter is None else epoch_counter.current
            key = [seed, epoch, zlib.crc32(name.encode())]
            rng = np.random.default_rng(key)
            start = int(rng.integers(total - frames + 1))
        # Training leaves out, and names, what is not finite.
        finite = crop is None
        signals = [
            read_audio(path, sample_rate, start, frames, finite=finite)[0]
            for path in paths
            if path  # there may be fewer speakers than in other mixtures
        ]
        # The sources only where they are targets, not where they are to score.
        cleaned = signals[:1] if crop is None else signals
        for index, signal in enumerate(cleaned):
            signals[index] = without_rumble(signal, sample_rate)
        signals = [torch.from_numpy(signal) for signal in signals]
        silence = torch.zeros_like(signals[0])
        signals += [silence] * (len(paths) - len(signals))
        yield signals[0]
        yield torch.stack(signals[1:], dim=-1)  # [T, C]: padded along T

    if not pathlib.Path(manifest).is_file():
        raise UserError(f"{manifest} is missing. Leave out skip_prep.")
    return DynamicItemDataset.from_csv(
        str(manifest),
        replacements={"data_root": str(data_folder)},
        dynamic_items=[_load],
        output_keys=["id", "mixture", "sources"],
    )


def mixture_datasets(manifests, training_crop, mixing=None, **arguments):
    """The datasets of all splits, by name; only that of training is cropped.

    Arguments
    ---------
    manifests : dict of str to str
        The CSV file of each split, one of which is `train`.
    training_crop : int
        Samples.
    mixing : augmentation.RandomMixing, optional
        What is done to training batches: as it may shorten them, they are cut
        to the crop after it.
    **arguments
        Further ones of `mixture_dataset`.

    Returns
    -------
    dict of str to DynamicItemDataset
    """
    crop = training_crop
    if mixing is not None:
        mixing.longest, crop = crop, math.ceil(crop * mixing.spare)
    return {
        split: mixture_dataset(
            manifest, crop=crop if split == "train" else None, **arguments
        )
        for split, manifest in manifests.items()
    }


def training_lengths(dataset, crop):
    """The seconds of each mixture of a training set, read or made on the fly,
    of which `crop` seconds are taken at most.
    """
    rows = getattr(dataset, "data", None)
    if rows is None:  # mixed on the fly: not known before
        return [crop] * len(dataset)
    return [min(float(rows[i]["duration"]), crop) for i in dataset.data_ids]
