"""The mask head in ONNX gives the voices that PyTorch gives."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from model_folder import make_model_folder
from programs import program
from refusals import refused
from sounds import RATE, noise

import export_onnx
from dpcl_dprnn.inference.onnx_export import MaskPath, RealSTFT
from dpcl_dprnn.inference.onnx_export import export_onnx as write_onnx
from dpcl_dprnn.model.encoders import STFTDecoder, STFTEncoder

pytestmark = pytest.mark.skipif(
    "config.getoption('--device') != 'cpu'", reason="onnxruntime of the CPU"
)


LEARNED = {"system": "dpcl_dprnn", "kernel_size": 64}


@pytest.fixture(scope="module", params=[LEARNED, {"system": "mini"}], ids=str)
def with_gains(request, tmp_path_factory):
    """A model folder with learned filters or an STFT, as calibrated in a test."""
    folder = tmp_path_factory.mktemp("gains") / "model"
    make_model_folder(folder, **request.param)
    path = folder / "hyperparams.yaml"
    text = path.read_text().replace(
        "output_gains: []", "output_gains: [0.7, -1.3]"
    )
    path.write_text(text)
    return folder


@pytest.fixture(scope="module")
def separator(with_gains, load):
    return load(with_gains)


@pytest.fixture(scope="module")
def exported(with_gains, tmp_path_factory):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    # In a process of its own: after one export PyTorch fixes the next's length.
    program(export_onnx.__file__, path, "--model", with_gains)
    return path


@pytest.mark.parametrize("length", [2000, 9001, 31234])
def test_any_length(exported, separator, length):
    import onnxruntime

    session = onnxruntime.InferenceSession(exported)
    mixture = noise(length)[None] + np.float32(0.05)  # an offset, too
    (voices,) = session.run(["voices"], {"mixture": mixture})
    wanted = separator.separate_batch(torch.from_numpy(mixture), 2, "masks")
    assert voices.shape == (1, 2, length)
    assert voices == pytest.approx(
        wanted.transpose(1, 2).cpu().numpy(), abs=1e-4
    )


@pytest.mark.parametrize("length", [2000, 9001])
@pytest.mark.parametrize("size", [64, 65])
def test_a_real_stft(size, length):
    encoder, decoder = STFTEncoder(size, 16), STFTDecoder(size, 16)
    real = RealSTFT(encoder)
    mixture = torch.from_numpy(noise(length))[None]
    wanted, encoded = encoder(mixture), real(mixture)
    parts = torch.cat([wanted.real, wanted.imag], dim=1)
    torch.testing.assert_close(encoded, parts, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        real.features(encoded), encoder.features(wanted), atol=1e-4, rtol=0
    )
    mask = torch.linspace(0, 1, wanted.shape[-1])
    torch.testing.assert_close(
        real.decode(mask * parts, length),
        decoder(mask * wanted, length),
        atol=1e-5,
        rtol=0,
    )


def test_by_pytorch_alone(separator):
    """What is exported is what `separate_batch` does."""
    module = MaskPath(separator.unmixer, RATE)
    mixture = torch.from_numpy(noise(9000))[None]
    with torch.no_grad():
        voices = module(mixture).transpose(1, 2)
    wanted = separator.separate_batch(mixture, 2, "masks")
    torch.testing.assert_close(voices, wanted, atol=1e-5, rtol=0)


def test_what_cannot_be_exported(separator, monkeypatch):
    unmixer = dataclasses.replace(separator.unmixer, output_gains=())
    with refused("no output_gains.*--test_only"):
        MaskPath(unmixer, RATE)
    monkeypatch.setattr(separator.unmixer.separator.model, "has_masks", False)
    with refused("no mask head"):
        MaskPath(separator.unmixer, RATE)


def test_a_package_that_is_missing(model_folder, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    path = tmp_path / "model.onnx"
    status = export_onnx.main([str(path), "--model", str(model_folder)])
    assert status == 1 and not path.exists()
    assert "pip install onnx onnxruntime onnxscript." in capsys.readouterr().err


def test_a_length_that_is_too_short(with_gains, tmp_path, capsys):
    words = [str(tmp_path / "m.onnx"), "--model", str(with_gains)]
    assert export_onnx.main([*words, "--seconds", "0.05"]) == 1
    assert "0.25 s or more" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", [None, 1.0])
def test_what_pytorch_cannot_export(separator, monkeypatch, seconds, tmp_path):
    pytest.importorskip("onnxscript")

    def fail(*_, **options):
        raise RuntimeError("no such operation\nand more")

    monkeypatch.setattr(torch.onnx, "export", fail)
    advice = "Give one length" if seconds is None else "no counterpart"
    with refused(f"cannot export .*no such operation.*{advice}"):
        write_onnx(separator, tmp_path / "m.onnx", seconds)
    assert not (tmp_path / "m.onnx").exists()
