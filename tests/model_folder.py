"""A small model folder, with weights that nobody trained."""

import dataclasses
import pathlib
import tempfile

import torch
from hyperpyyaml import load_hyperpyyaml
from ideal import ideal_counting

import train
from dpcl_dprnn.inference.model_folder import export_model
from dpcl_dprnn.unmixing.unmixer import Unmixer

HPARAMS = pathlib.Path(train.__file__).parent / "hparams"
SMALL = {
    "num_layers": 1,
    "hidden_size": 8,
    "num_channels": 16,
    "num_filters": 32,
    "embedding_size": 4,
}
SCORE = {"mean": 7.0, "std": 1.0, "count": 3}


def make_separator(num_spks=2, system="mini", **overrides):
    """A separator with random weights, always the same ones."""
    return _load(num_spks, system, overrides)[0]["separator"].eval()


def _load(num_spks, system, overrides):
    """The hparams, the text of their file, and what was changed in it."""
    text = (HPARAMS / f"{system}.yaml").read_text(encoding="utf-8")
    small = {key: value for key, value in SMALL.items() if f"\n{key}:" in text}
    changes = {**small, "num_spks": num_spks, **overrides}
    with torch.random.fork_rng(), tempfile.TemporaryDirectory() as folder:
        folders = {"data_folder": "", "speech_folder": ""}
        hparams = load_hyperpyyaml(
            text, {**changes, **folders, "output_folder": folder}
        )
    return hparams, text, changes


def make_model_folder(
    path, num_spks=2, system="mini", dtype="float32", **overrides
):
    """Export a separator with random weights, always the same ones, of an
    hparams file with some of its keys set; the folder is returned.
    """
    hparams, text, changes = _load(num_spks, system, overrides)
    lines = "".join(f"{key}: {value}\n" for key, value in changes.items())
    unmixer = Unmixer.from_hparams(hparams)
    if "kmeans" in unmixer.separator.heads:
        unmixer = dataclasses.replace(
            unmixer,
            speaker_counting=ideal_counting(
                num_spks, "masks" in unmixer.separator.heads
            ),
        )
    about = {
        "experiment": system,
        "num_spks": num_spks,
        "sample_rate": hparams["sample_rate"],
        "parameters": sum(p.numel() for p in unmixer.separator.parameters()),
        "epoch": 3,
        "seed": 1234,
        "licence": "cc-by-4.0",
        "data_folder": "/data/2speakers",
        "heads": {
            head: {"si-snr_i": SCORE} for head in unmixer.separator.heads
        },
    }
    export_model(path, text, lines, unmixer, about, dtype)
    return pathlib.Path(path)
