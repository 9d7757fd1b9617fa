"""Model folders: what inference needs, whole, and nothing else."""

import os
import re

import pytest
import torch
import yaml
from model_folder import HPARAMS, make_model_folder, make_separator

from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.inference.model_folder import (
    inference_hparams,
    model_card,
)
from dpcl_dprnn.model.separator import load_weights
from dpcl_dprnn.unmixing.unmixer import Unmixer

FILES = ["README.md", "hyperparams.yaml", "separator.ckpt"]
EVERY_SYSTEM = pytest.mark.parametrize(
    "system", [path.stem for path in sorted(HPARAMS.glob("*.yaml"))]
)


def test_files(model_folder):
    assert sorted(os.listdir(model_folder)) == FILES
    assert os.listdir(model_folder.parent) == ["model"]
    size = sum((model_folder / name).stat().st_size for name in FILES)
    assert size < 200_000


@EVERY_SYSTEM
def test_hparams_have_what_the_separator_is_built_of_alone(system):
    text = (HPARAMS / f"{system}.yaml").read_text(encoding="utf-8")
    short = inference_hparams(text, "", Unmixer(None, 2))
    keys = re.findall(r"^(\w+):", short, re.MULTILINE)
    for key in ("optimizer", "data_folder", "lr", "checkpointer", "seed"):
        assert key not in keys
    for key in keys:
        used = re.search(rf"<{key}[\[>]", short)
        known = (
            *("separator", "num_spks", "sample_rate", "mixture_consistency"),
            *("threshold_db", "kmeans", "output_gains", "speaker_counting"),
            *("best_head", "expected_improvement", "modules", "pretrainer"),
        )
        assert used or key in known, key
    assert "!apply" not in short and "!PLACEHOLDER" not in short


def test_hparams_keep_their_comments():
    text = (HPARAMS / "mini.yaml").read_text(encoding="utf-8")
    short = inference_hparams(text, "", Unmixer(None, 2))
    assert "\n# Model\n" in short
    assert "hop: !ref <sample_rate> // 125  # 8 ms" in short


def test_overrides_and_what_was_fitted_are_in_the_hparams():
    text = (HPARAMS / "mini.yaml").read_text(encoding="utf-8")
    short = inference_hparams(
        text,
        "hidden_size: 8\nlr: 3\nkmeans: {restarts: 2}\n",
        Unmixer(
            *(None, 2),
            output_gains=[1 / 3, -2.0],
            speaker_counting=[[0.0, 1.5], [20.0, 0.5]],
            best_head="kmeans",
            expected_improvement={"kmeans": [-9.0, 25 / 3]},
        ),
    )
    assert "\nhidden_size: 8" in short and "\nlr:" not in short
    plain = yaml.safe_load(re.sub(r"!\S+( <\w+>.*)?", "", short))
    assert plain["kmeans"]["restarts"] == 2
    assert plain["kmeans"]["seed"] == 0  # the rest of it stays
    assert plain["output_gains"] == pytest.approx([1 / 3, -2.0], abs=1e-5)
    assert plain["speaker_counting"] == [[0.0, 1.5], [20.0, 0.5]]
    assert plain["best_head"] == "kmeans"
    line = plain["expected_improvement"]["kmeans"]
    assert line == pytest.approx([-9.0, 25 / 3], abs=1e-4)


@EVERY_SYSTEM
def test_card_has_metadata_and_scores(system, tmp_path):
    folder = make_model_folder(tmp_path / "model", system=system)
    text = (folder / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    metadata = yaml.safe_load(front)
    assert metadata["library_name"] == "speechbrain"
    assert metadata["license"] == "cc-by-4.0"
    assert "speech-separation" in metadata["tags"]
    assert f"# {system}" in body
    assert "7.00 (1.00)" in body
    assert ("mask head" in body) == (system != "dpcl")
    assert ("embedding head" in body) == (system != "dprnn")
    assert "/data" not in body  # no path of this machine


def test_card_of_undefined_scores():
    score = {"mean": None, "std": None, "count": 0}
    about = {
        **dict.fromkeys(("experiment", "num_spks", "sample_rate"), 1),
        **dict.fromkeys(("epoch", "seed", "licence"), 1),
        **{"parameters": 1, "heads": {"masks": {"sdr": score}}},
    }
    assert "undefined" in model_card(about)


def test_export_replaces_what_was_there(tmp_path):
    folder = tmp_path / "model"
    make_model_folder(folder)
    (folder / "stale").touch()
    make_model_folder(folder, num_spks=3)
    assert sorted(os.listdir(folder)) == FILES
    assert os.listdir(tmp_path) == ["model"]
    assert "num_spks: 3" in (folder / "hyperparams.yaml").read_text()


def test_export_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    folder = make_model_folder(tmp_path / "model")
    before = {name: (folder / name).read_bytes() for name in FILES}

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(UserError, match="No space left"):
        make_model_folder(folder, num_spks=3)
    assert {name: (folder / name).read_bytes() for name in FILES} == before


@EVERY_SYSTEM
def test_weights_survive(system, tmp_path):
    folder = make_model_folder(tmp_path / "model", system=system)
    saved = torch.load(folder / "separator.ckpt", weights_only=True)
    separator = make_separator(system=system)
    for parameter in separator.parameters():
        torch.nn.init.zeros_(parameter)
    load_weights(separator, folder / "separator.ckpt", "a test")
    assert sum(float(value.abs().sum()) for value in saved.values()) > 1
    for name, value in separator.state_dict().items():
        assert torch.equal(value, saved[name])


def test_weights_of_half_precision(tmp_path):
    """Half the file, and each weight the nearest that there is."""
    whole, sizes = make_separator(), {}
    for dtype in ("float32", "float16"):
        folder = make_model_folder(tmp_path / dtype, dtype=dtype)
        sizes[dtype] = (folder / "separator.ckpt").stat().st_size
    weights = sum(p.numel() for p in whole.parameters())
    assert sizes["float32"] - sizes["float16"] == pytest.approx(
        2 * weights, rel=0.1
    )
    half = make_separator()
    load_weights(half, folder / "separator.ckpt", "a test")
    for name, value in half.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, whole.state_dict()[name].half().float())


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "other", "fewer"])
def test_damaged_weights_are_named(damage, tmp_path):
    folder = make_model_folder(tmp_path / "model")
    path = folder / "separator.ckpt"
    content = path.read_bytes()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "gone":
        path.unlink()
    elif damage == "other":
        torch.save(make_separator(num_spks=3).state_dict(), path)
    else:
        state = torch.load(path, weights_only=True)
        state.popitem()
        torch.save(state, path)
    with pytest.raises(UserError, match="separator.ckpt") as caught:
        load_weights(make_separator(), path, "The model")
    assert "\n" not in str(caught.value)
