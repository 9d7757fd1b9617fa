"""Stopping early, precision and memory."""

import ctypes
import platform
import types

import pytest
import torch

from dpcl_dprnn.training import stopping as training
from dpcl_dprnn.training.stopping import (
    AveragedWeights,
    EarlyStopping,
    fastest_precision,
)


def epochs_until_stop(metrics, **options):
    arguments = {
        "limit": 20,
        "limit_to_stop": 3,
        "limit_warmup": 0,
        "direction": "min",
    }
    counter = EarlyStopping(**{**arguments, **options})
    for epoch in counter:
        counter.update_metric(metrics(epoch))
    return epoch


@pytest.mark.parametrize("value", [-10.0, 0.0, 10.0])
@pytest.mark.parametrize("direction", ["min", "max"])
def test_constant_metric_stops(value, direction):
    epochs = epochs_until_stop(lambda _: value, direction=direction)
    assert epochs == 4  # the first is the best, three are no better


@pytest.mark.parametrize("start", [-10.0, 0.005, 10.0])
def test_any_improvement_goes_on(start):
    assert epochs_until_stop(lambda n: start - 1e-3 * n) == 20


@pytest.mark.parametrize("start", [-10.0, 10.0])
def test_worsening_metric_stops(start):
    assert epochs_until_stop(lambda n: start + n) == 4


def test_patience_starts_anew_with_an_improvement():
    metrics = [-1, -2, -1, -1, -3, -1, -1, -1, -9]
    assert epochs_until_stop(lambda n: metrics[n - 1]) == 8


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
    monkeypatch.setattr(training.ctypes, "CDLL", lambda name: fake)
    training.reuse_memory()
    assert calls == [(-3, 1), (-1, 1), (-2, 1)]


def test_reusing_memory_needs_no_glibc(monkeypatch):
    def fail(name):
        raise OSError(name)

    monkeypatch.setattr(training.ctypes, "CDLL", fail)
    training.reuse_memory()


def average_of(values, decay):
    """An average of one weight that takes these values, and the module."""
    layer = torch.nn.Linear(1, 1, bias=False)
    averaged = AveragedWeights(decay)
    averaged.follow(layer)
    for value in values:
        layer.weight.data.fill_(value)
        averaged.update()
    return averaged, layer


def test_averaged_weights_are_the_recursion():
    """By hand, with the decay of the early steps, which is less."""
    values = [4.0, 1.0, -2.0, 0.5] * 20
    mean = values[0]
    for step, value in enumerate(values, start=1):
        decay = min(0.8, (1 + step) / (10 + step))
        mean = decay * mean + (1 - decay) * value
    averaged, layer = average_of(values, 0.8)
    averaged.exchange()
    assert layer.weight.item() == pytest.approx(mean, rel=1e-5)
    averaged.exchange()
    assert layer.weight.item() == 0.5


def test_without_a_decay_nothing_is_averaged():
    averaged, layer = average_of([4.0, 1.0], None)
    averaged.exchange()
    assert layer.weight.item() == 1.0


def test_averaged_weights_go_on_bit_for_bit(tmp_path):
    values = torch.randn(20).tolist()
    whole, layer = average_of(values, 0.9)
    first, _ = average_of(values[:7], 0.9)
    first.save(tmp_path / "averaged")
    second, other = average_of([], 0.9)
    second.load(tmp_path / "averaged")
    for value in values[7:]:
        other.weight.data.fill_(value)
        second.update()
    whole.exchange()
    second.exchange()
    assert torch.equal(layer.weight, other.weight)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_unfit_decay_is_refused(decay):
    with pytest.raises(ValueError, match="decay is"):
        AveragedWeights(decay)
