"""Averaged weights are the recursion, and are kept to the bit."""

import pytest
import torch

from dpcl_dprnn.training.averaging import AveragedWeights


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
