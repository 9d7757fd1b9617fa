"""Every hparams file makes a system that runs, and holds no idle key."""

import csv
import pathlib
import re

import pytest
import torch
import torch.distributed.run
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.run_opts import RunOptions

import train
from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.mixtures.live_sets import read_settings

RECIPE = pathlib.Path(train.__file__).parent
ROOT = RECIPE.parents[2]
FILES = sorted((RECIPE / "hparams").glob("*.yaml"))
RUN_OPTIONS = RunOptions().as_dict().keys()
# What train.py looks up, but only for a system that has embeddings
FOR_EMBEDDINGS = {"dpcl_loss", "threshold_db", "kmeans"}
FOR_MASKS = {"pit_loss"}

EVERY_FILE = pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)


def load(path, folder, **overrides):
    folders = {"data_folder": "x", "speech_folder": ""}
    folders["output_folder"] = str(folder)
    with open(path, encoding="utf-8") as file:
        return load_hyperpyyaml(file, {**folders, **overrides})


def keys_of(path):
    text = path.read_text(encoding="utf-8")
    keys = re.findall(r"^(\w+):", text, re.MULTILINE)
    return [key for key in keys if not key.startswith("__")]


def used_by_train():
    text = (RECIPE / "train.py").read_text(encoding="utf-8")
    found = re.findall(r"\bhparams(?:\[\"(\w+)\"\]|\.(\w+))", text)
    return {name for pair in found for name in pair if name}


def test_the_systems_are_there():
    names = ["dpcl", "dpcl_dprnn", "dpcl_dprnn_stft", "dprnn", "mini", "voices"]
    assert [path.stem for path in FILES] == names


@EVERY_FILE
@pytest.mark.parametrize("num_spks", [2, 3])
@torch.no_grad()
def test_separates(path, num_spks, tmp_path):
    hparams = load(path, tmp_path, num_spks=num_spks)
    separator = hparams["separator"].eval()
    length = hparams["sample_rate"] // 2 + 13
    mixture = torch.randn(1, length)
    estimates, embeddings = separator(mixture)
    heads = set(hparams["loss_weights"])
    assert heads and heads <= {"pit", "level", "dpcl"}
    assert ("pit" in heads) == ("level" in heads)

    assert (estimates is not None) == ("pit" in heads)
    if estimates is not None:
        assert estimates.shape == (1, num_spks, length)
        assert estimates.isfinite().all() and estimates.any()

    assert (embeddings is not None) == ("dpcl" in heads)
    if embeddings is not None:
        frames = separator.grid_encoder.frames(length)
        bins = hparams["n_fft"] // 2 + 1
        size = hparams["embedding_size"]
        assert embeddings.shape == (1, frames, bins, size)
        assert separator.grid_encoder(mixture).shape == (1, bins, frames)
        voices = separator.separate_kmeans(
            mixture,
            embeddings,
            num_spks,
            hparams["threshold_db"],
            **{**hparams["kmeans"], "restarts": 1},
        )
        assert voices.shape == (1, num_spks, length)
        assert voices.isfinite().all() and voices.any()


@EVERY_FILE
def test_sizes_agree(path, tmp_path):
    hparams = load(path, tmp_path)
    separator = hparams["separator"]
    if "kernel_size" in hparams:
        stride = separator.encoder.stride
        assert stride == hparams["kernel_size"] // 2
    else:
        stride = separator.encoder.hop
        assert stride == hparams["hop"]
    head = getattr(separator.model, "embedding_head", None)
    if head is None:
        return
    # Whole trunk frames go into a grid frame, and none is left over.
    assert head.pool * stride == hparams["hop"]
    assert head.bins == hparams["n_fft"] // 2 + 1
    for length in (1, 1000, 4 * hparams["sample_rate"]):
        trunk = separator.encoder.frames(length)
        grid = separator.grid_encoder.frames(length)
        assert abs(trunk - head.pool * grid) <= head.pool


@pytest.mark.parametrize("change", [{"kernel_size": 24}, {"hop": 100}], ids=str)
def test_sizes_that_disagree_are_refused(change, tmp_path):
    """Pooled frames of 60 samples would drift off a grid with a hop of 64."""
    with pytest.raises((ValueError, UserError), match="multiple"):
        load(RECIPE / "hparams" / "dpcl_dprnn.yaml", tmp_path, **change)


@EVERY_FILE
@pytest.mark.parametrize("num_spks", [2, 3])
def test_settings_of_dynamic_mixing_fit(path, num_spks, tmp_path):
    settings = load(path, tmp_path, num_spks=num_spks)["dynamic_mixing"]
    numbers = read_settings(settings, num_spks)
    assert max(numbers["speakers"]) == num_spks
    idle = set(settings) - set(numbers) - {"noise_folder", "room_folder"}
    assert idle == set()


@EVERY_FILE
def test_every_key_is_used(path):
    text = path.read_text(encoding="utf-8")
    in_train = used_by_train()
    idle = [
        key
        for key in keys_of(path)
        if not re.search(rf"<{key}[\[>]", text)
        and key not in in_train
        and key not in RUN_OPTIONS
    ]
    assert idle == []


@EVERY_FILE
def test_no_key_is_missing(path):
    needed = used_by_train()
    if "dpcl" not in load_weights(path):
        needed -= FOR_EMBEDDINGS
    if "pit" not in load_weights(path):
        needed -= FOR_MASKS
    assert needed - set(keys_of(path)) == set()


def load_weights(path):
    text = path.read_text(encoding="utf-8")
    block = re.search(r"^loss_weights:\n((?: +.*\n)+)", text, re.MULTILINE)
    return re.findall(r"(\w+):", block[1])


@EVERY_FILE
def test_no_value_is_the_start_of_a_run_option(path):
    """argparse would take such a key for the option's abbreviation."""
    text = path.read_text(encoding="utf-8")
    values = re.findall(r"^(\w+): (?!!n)", text, re.MULTILINE)
    taken = [
        (key, option)
        for key in set(values) - RUN_OPTIONS
        for option in RUN_OPTIONS
        if option.startswith(key)
    ]
    assert len(values) > 20 and taken == []


def test_the_same_key_has_the_same_name_everywhere():
    """What all systems share can be set for all of them."""
    common = set.intersection(*(set(keys_of(path)) for path in FILES))
    shared = {
        *("seed", "data_folder", "output_folder", "num_spks", "sample_rate"),
        *("skip_prep", "number_of_epochs", "batch_size", "training_crop"),
        *("lr", "max_grad_norm", "precision", "pretrained", "loss_weights"),
        *("num_audio", "perceptual_scores", "separator", "checkpointer"),
        *("train_dataloader_opts", "test_dataloader_opts"),
        *("speech_folder", "speech_cache", "dynamic_mixing"),
    }
    assert shared <= common


def rows():
    path = ROOT / "tests" / "recipes" / "WSJ0Mix.csv"
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_table_lists_every_file_once():
    listed = [row["Hparam_file"] for row in rows()]
    assert listed == [path.relative_to(ROOT).as_posix() for path in FILES]
    columns = (
        "Task,Dataset,Script_file,Hparam_file,Data_prep_file,Readme_file,"
        "Result_url,HF_repo,test_debug_flags,test_debug_checks,performance"
    )
    assert ",".join(rows()[0]) == columns


@pytest.mark.parametrize("row", rows(), ids=lambda row: row["Hparam_file"])
def test_table_names_what_there_is(row):
    for kind in ("Script", "Hparam", "Data_prep", "Readme"):
        column = f"{kind}_file"
        assert (ROOT / row[column]).is_file(), row[column]
    path = ROOT / row["Hparam_file"]
    flags = row["test_debug_flags"].split()
    for flag in flags:
        key = re.fullmatch(r"--(\w+)=\S*", flag)[1]
        assert key in keys_of(path)
    heads = load_weights(path)
    checks = row["test_debug_checks"]
    assert ("test_results.csv" in checks) == ("pit" in heads)
    assert ("test_results_kmeans.csv" in checks) == ("dpcl" in heads)


@EVERY_FILE
def test_torchrun_leaves_every_key_to_the_recipe(path):
    # It parses what follows the script too, for abbreviations of its options.
    theirs = {
        option
        for action in torch.distributed.run.get_args_parser()._actions
        for option in action.option_strings
    }
    for key in keys_of(path):
        assert not any(option.startswith(f"--{key}") for option in theirs), key
