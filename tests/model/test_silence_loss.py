"""The loss of outputs that have no speaker, and the limit of those that do."""

import math

import pytest
import torch

from dpcl_dprnn.model.losses import (
    audible_sources,
    pairwise_si_snr,
    pit_si_snr_loss,
    silence_loss,
)


def one_of_three(device, levels=(1.0, 0.1, 0.03)):
    """A single speaker's sources, and estimates of these levels."""
    voice = torch.randn(1, 500, device=device)
    voice = voice - voice.mean()
    scales = torch.tensor(levels, device=device)[None, :, None]
    sources = torch.zeros(1, 3, 500, device=device)
    sources[:, 0] = voice
    return voice.unsqueeze(1) * scales, sources


def loss_of(estimates, sources, *lengths, order=(0, 1, 2), **options):
    permutation = torch.tensor([order], device=sources.device)
    return silence_loss(estimates, sources, permutation, *lengths, **options)


def test_closed_form(device):
    estimates, sources = one_of_three(device)
    got = loss_of(estimates, sources, floor_db=30.0)
    total = 1 + 0.01 + 0.0009
    levels = [10 * math.log10(p / total + 1e-3) for p in (0.01, 0.0009)]
    assert got.item() == pytest.approx(sum(levels) / 2, abs=1e-3)


def test_the_scale_of_all_estimates_makes_no_difference(device):
    estimates, sources = one_of_three(device)
    one = loss_of(estimates, sources)
    other = loss_of(-50 * estimates, sources)
    torch.testing.assert_close(one, other)


def test_the_estimate_of_the_speaker_does_not_count(device):
    """Which estimate that is, the permutation says."""
    estimates, sources = one_of_three(device, (0.1, 1.0, 0.1))
    got = loss_of(estimates, sources, order=(1, 0, 2))
    expected = 10 * math.log10(0.01 / 1.02 + 1e-3)
    assert got.item() == pytest.approx(expected, abs=1e-3)


def test_no_silent_source_no_loss(device):
    sources = torch.randn(2, 2, 300, device=device)
    estimates = torch.randn(2, 2, 300, device=device)
    permutation = torch.tensor([[0, 1], [1, 0]], device=device)
    assert not silence_loss(estimates, sources, permutation).any()
    assert not silence_loss(estimates, 0 * sources, permutation).any()


def test_padding_does_not_count(device):
    estimates, sources = one_of_three(device)
    lengths = torch.tensor([200], device=device)
    expected = loss_of(estimates[..., :200], sources[..., :200])
    estimates[..., 200:] = 9.0
    sources[..., 200:] = 9.0
    got = loss_of(estimates, sources, lengths)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


def test_gradient_makes_idle_outputs_softer(device):
    estimates, sources = one_of_three(device)
    estimates.requires_grad_()
    loss_of(estimates, sources).sum().backward()
    slope = (estimates.grad * estimates).sum(dim=-1)[0]
    assert slope[0] < 0 < slope[1] and slope[2] > 0
    assert estimates.grad.isfinite().all()


def test_gradient_of_silence_is_finite(device):
    estimates = torch.zeros(1, 2, 50, device=device, requires_grad=True)
    sources = torch.randn(1, 2, 50, device=device)
    sources[:, 1] = 0
    loss_of(estimates, sources, order=(0, 1)).sum().backward()
    assert estimates.grad.isfinite().all()


def test_audible_sources(device):
    sources = torch.randn(2, 2, 40, device=device)
    sources[0, 0] = 0.5  # a constant
    sources[1, 1, :20] = 0
    assert audible_sources(sources).tolist() == [[False, True], [True, True]]
    lengths = torch.tensor([40, 20], device=device)
    heard = audible_sources(sources, lengths)
    assert heard.tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize("snr", [0.0, 20.0, 40.0, 60.0])
def test_soft_limit(snr, device):
    """Powers add: 1 / (1 / snr + 1 / limit)."""
    source = torch.randn(1, 1, 4000, device=device)
    source = source - source.mean()
    noise = torch.randn(1, 1, 4000, device=device)
    noise = noise - noise.mean()
    noise -= (noise * source).sum() / source.square().sum() * source
    noise *= source.norm() / noise.norm() * 10 ** (-snr / 20)
    got = pairwise_si_snr(source + noise, source, limit_db=30.0).item()
    expected = -10 * math.log10(10 ** (-snr / 10) + 1e-3)
    assert got == pytest.approx(expected, abs=0.05)


def test_loss_with_a_limit_is_that_of_its_scores(device):
    sources = torch.randn(2, 2, 300, device=device)
    estimates = sources.flip(1) + 0.01 * torch.randn(2, 2, 300, device=device)
    loss, permutation = pit_si_snr_loss(estimates, sources, limit_db=30.0)
    scores = pairwise_si_snr(estimates, sources, limit_db=30.0)
    expected = -(scores[:, 1, 0] + scores[:, 0, 1]) / 2
    torch.testing.assert_close(loss, expected)
    assert permutation.tolist() == [[1, 0], [1, 0]]
    assert (loss > -30.1).all()
