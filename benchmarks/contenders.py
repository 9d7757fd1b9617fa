"""This project's systems, that train and separate.

Each function makes, from the name of an hparams file, what
`teams.Contender.make` describes. Shapes are in the letters of
dpcl_dprnn/model/networks.py.
"""

import copy
import functools
import logging
import pathlib
import re
import sys

import torch
from hyperpyyaml import load_hyperpyyaml
from signals import voices
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.autocast import AMPConfig

RECIPE = pathlib.Path(__file__).parents[1] / "recipes/WSJ0Mix/separation"
sys.path.insert(0, str(RECIPE))
# It says that there is no torchvision, which nothing here needs.
logging.getLogger("speechbrain.utils.train_logger").disabled = True

import train  # noqa: E402
from dpcl_dprnn.training.machine import reuse_memory  # noqa: E402


def keys_of(system):
    """The keys of an hparams file."""
    text = (RECIPE / "hparams" / f"{system}.yaml").read_text(encoding="utf-8")
    return set(re.findall(r"^(\w+):", text, re.MULTILINE))


def load(system, folder, hparams):
    """Load an hparams file by its name, with values for those of its keys that
    are in `hparams`, and a folder for what is written on the way.
    """
    known = keys_of(system)
    overrides = {"output_folder": str(folder)}
    overrides |= dict.fromkeys(("data_folder", "speech_folder"), "none")
    overrides |= {key: hparams[key] for key in known & hparams.keys()}
    with open(RECIPE / "hparams" / f"{system}.yaml", encoding="utf-8") as file:
        return load_hyperpyyaml(file, overrides)


def ready_brain(hparams, device, precision, compiled=False):
    """The recipe's own Brain, about to train."""
    if torch.device(device).type == "cpu":
        reuse_memory()  # as train.py does
    brain = train.Separation(
        modules=hparams["modules"],
        opt_class=hparams["optimizer"],
        hparams=hparams,
        run_opts={
            "device": device,
            "precision": precision,
            "compile": compiled,
            "distributed_backend": "gloo",
        },
    )
    train.sb.Brain.on_fit_start(brain)  # ours would look for a data set
    brain.modules.train()
    brain.on_stage_start(train.sb.Stage.TRAIN, epoch=1)
    return brain


def our_training(system, precision, device, hparams, folder, compiled=False):
    """A training step of one of the systems, by the recipe's own Brain."""
    hparams = load(system, folder, hparams)
    brain = ready_brain(hparams, device, precision, compiled)

    def make_input(seconds, batch):
        samples = round(seconds * hparams["sample_rate"])
        sources = voices(batch, hparams["num_spks"], samples).transpose(1, 2)
        items = [
            {"id": str(i), "mixture": source.sum(dim=-1), "sources": source}
            for i, source in enumerate(sources)
        ]
        return functools.partial(step, PaddedBatch(items))

    def step(batch):
        brain.step += 1
        brain.fit_batch(copy.copy(batch))  # as it is moved in place

    return make_input


def our_inference(system, precision, device, hparams, folder):
    """The mask head, or where there is none the embeddings, of a system."""
    if torch.device(device).type == "cpu":
        reuse_memory()
    hparams = load(system, folder, hparams)
    separator = hparams["separator"].to(device).eval()
    if precision != "fp32":
        separator.inference_dtype = AMPConfig.from_name(precision).dtype

    def separate(mixture):
        return separator.separate_each(list(mixture))

    return separation_of(hparams, device, separate)


def separation_of(hparams, device, separate):
    """Makes mixtures [B, T], and what separates them."""

    @torch.no_grad()
    def step(mixture):
        return separate(mixture)

    def make_input(seconds, batch):
        samples = round(seconds * hparams["sample_rate"])
        sources = voices(batch, hparams["num_spks"], samples)
        return functools.partial(step, sources.sum(dim=1).to(device))

    return make_input
