"""Precision and memory."""

import ctypes
import pathlib
import platform
import types

import pytest
import torch
from in_process import ends, in_process
from model_folder import HPARAMS
from pretended_cuda import in_a_child
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

import train
from dpcl_dprnn.training import machine
from dpcl_dprnn.training.machine import (
    Counter,
    count_costs,
    fastest_precision,
)


def test_fastest_precision():
    assert fastest_precision() in {"bf16", "fp32"}


@pytest.mark.parametrize("supported", [True, False])
def test_fastest_precision_of_a_gpu(supported, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: supported
    )
    assert fastest_precision() == ("bf16" if supported else "fp32")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_glibc_takes_the_options_that_reuse_memory(monkeypatch):
    """mallopt gives 1 for what it takes, 0 for what it does not know."""
    libc, calls = ctypes.CDLL("libc.so.6"), []

    def mallopt(option, value):
        calls.append((option, libc.mallopt(option, value)))

    fake = types.SimpleNamespace(mallopt=mallopt)
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: fake)
    machine.reuse_memory()
    assert calls == [(-3, 1), (-1, 1), (-2, 1)]


def test_reusing_memory_needs_no_glibc(monkeypatch):
    def fail(name):
        raise OSError(name)

    monkeypatch.setattr(machine.ctypes, "CDLL", fail)
    machine.reuse_memory()


BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
SIZES = {"num_channels": 64, "hidden_size": 64}
LEARNED = {"kernel_size": 64, "num_filters": 64, "num_layers": 1}


@pytest.mark.parametrize(
    "system, sizes, batch, seconds",
    [
        ("mini", SIZES, 2, 1.0),
        ("mini", {**SIZES, "num_layers": 2}, 4, 2.0),
        ("dpcl_dprnn", {**SIZES, **LEARNED}, 2, 1.0),
        ("dpcl", {"hidden_size": 96, "num_layers": 2}, 3, 2.0),
    ],
)
@in_a_child
def test_costs_are_those_of_a_step(
    system, sizes, batch, seconds, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import costs as benchmark

    brain, again = (
        benchmark.make_brain(system, tmp_path, **sizes) for _ in range(2)
    )
    samples = brain.separator.filled(round(8000 * seconds))
    measured, lasting = benchmark.allocated(brain, batch, samples)
    costs = count_costs(again, batch, samples, window=1.0)
    assert costs.step == pytest.approx(measured, rel=0.1)
    assert costs.lasting == pytest.approx(lasting, rel=0.02)
    assert costs.lasting < costs.step_on_gpu < costs.step
    parameters = sum(p.numel() for p in brain.separator.parameters())
    assert costs.parameters == parameters


@in_a_child
def test_operations_of_an_lstm_are_those_of_its_products():
    lstm = torch.nn.LSTM(24, 16, bidirectional=True)
    found = []
    for fused in (True, False):  # the products by themselves are PyTorch's
        with (
            torch.backends.mkldnn.flags(enabled=fused),
            torch.no_grad(),
            FlopCounterMode(
                display=False, custom_mapping=machine.OPERATIONS
            ) as counter,
        ):
            lstm(torch.zeros(10, 3, 24))
        found.append(counter.get_total_flops())
    assert found[0] == found[1] == 2 * 2 * 10 * 3 * 64 * (24 + 16)


@in_a_child
def test_memory_counts_while_it_is_used():
    with FakeTensorMode(), Counter() as counter:
        x = torch.zeros(1000)
        y = x[10:].view(-1)  # the same memory
        z = x + 1
        del x, z
        assert (counter.bytes, counter.most) == (4000, 8000)
        del y
        assert (counter.bytes, counter.most) == (0, 8000)


@pytest.mark.parametrize("system", ["mini", "dpcl", "dpcl_dprnn"])
@in_a_child
def test_costs_are_those_of_a_separation(system, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import costs as benchmark

    sizes = LEARNED if system == "dpcl_dprnn" else {}
    brain = benchmark.make_brain(system, tmp_path, hidden_size=64, **sizes)
    separator, mixture = brain.separator.eval(), torch.zeros(1, 16000)
    with (
        torch.no_grad(),
        profile(
            activities=[ProfilerActivity.CPU], profile_memory=True
        ) as profiled,
    ):
        separator(mixture)
    measured = benchmark.most_allocated(profiled)
    measured += sum(p.nbytes for p in separator.parameters())
    # Without oneDNN, LSTMs are products, which PyTorch's counter knows.
    with (
        torch.no_grad(),
        torch.backends.mkldnn.flags(enabled=False),
        FlopCounterMode(display=False) as counter,
    ):
        separator(mixture)
    costs = count_costs(brain, 1, 4000, window=2.0)
    assert costs.separation == pytest.approx(measured, rel=0.1)
    multiply_adds = counter.get_total_flops() / 2 / 2
    assert costs.multiply_adds == pytest.approx(multiply_adds, rel=1e-6)


@in_a_child
def test_costs_of_steps_of_several_batches(tmp_path, monkeypatch):
    """The gradients are there while the next batch is computed."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import costs as benchmark

    found = []
    for factor in (1, 3):
        brain = benchmark.make_brain("mini", tmp_path)
        brain.grad_accumulation_factor = factor
        found.append(count_costs(brain, 2, 4000, window=1.0))
    one, three = found
    weights = 4 * one.parameters
    assert three.lasting == pytest.approx(one.lasting, rel=1e-4)
    assert 0 < three.step - one.step <= weights


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@in_a_child
def test_dry_run_takes_no_data_and_no_precision(precision, capsys, tmp_path):
    text = (HPARAMS / "dpcl_dprnn_stft.yaml").read_text(encoding="utf-8")
    file = tmp_path / "own.yaml"
    text = text.replace("precision: fp32", f"precision: {precision}")
    text = text.replace("num_layers: 6", "num_layers: 1")
    file.write_text(text, encoding="utf-8")
    in_process(train.run, str(file), "--batch_size=3", "--dry_run")
    said = capsys.readouterr().out
    assert "Step on a GPU  231 MB in fp32" in said, said
    assert "for each of 3 mixtures of 3.83 s" in said


def test_dry_run_is_of_one_process(capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    hparams = str(HPARAMS / "mini.yaml")
    said = ends(capsys, 1, in_process, train.run, hparams, "--dry_run")
    assert "leave out torchrun" in said
