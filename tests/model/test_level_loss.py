"""The loss of levels, and the limit of SI-SNR."""

import math

import pytest
import torch

from dpcl_dprnn.model.losses import (
    audible_sources,
    level_loss,
    pairwise_si_snr,
    pit_si_snr_loss,
)


def two_of_three(device, levels, wanted=(1.0, 0.5, 0.0)):
    """Sources of these amplitudes, and estimates of those."""
    voices = torch.randn(1, 3, 500, device=device)
    voices = voices - voices.mean(dim=-1, keepdim=True)
    voices = voices / voices.norm(dim=-1, keepdim=True)
    scales = torch.tensor([levels, wanted], device=device)[..., None]
    return voices * scales[0], voices * scales[1]


def loss_of(estimates, sources, *lengths, order=(0, 1, 2), **options):
    permutation = torch.tensor([order], device=sources.device)
    return level_loss(estimates, sources, permutation, *lengths, **options)


def test_closed_form(device):
    estimates, sources = two_of_three(device, (2.0, 0.1, 0.03))
    got = loss_of(estimates, sources, floor_db=20.0)
    pairs = [(4.0, 1.0), (0.01, 0.25), (0.0009, 0.0)]
    distances = [
        abs(10 * math.log10((e / 1.25 + 0.01) / (s / 1.25 + 0.01)))
        for e, s in pairs
    ]
    assert got.item() == pytest.approx(sum(distances) / 3, abs=1e-3)


def test_what_is_as_loud_as_it_should_be_costs_nothing(device):
    estimates, sources = two_of_three(device, (-1.0, 0.5, 0.0))
    assert loss_of(estimates, sources).item() == pytest.approx(0, abs=1e-4)


def test_a_loud_output_does_not_make_the_others_silent(device):
    """They are measured by the sources, not by one another."""
    for loud in (1.0, 50.0):
        estimates, sources = two_of_three(
            device, (loud, 0.5, 0.5), (1.0, 0.5, 0.0)
        )
        quiet = 10 * math.log10(0.25 / 1.25 * 1e3 + 1) / 3
        got = loss_of(estimates, sources).item()
        assert got >= quiet - 1e-3
    assert got == pytest.approx(quiet + 20 * math.log10(50) / 3, abs=0.05)


def test_scale_of_the_recording_makes_no_difference(device):
    estimates, sources = two_of_three(device, (2.0, 0.1, 0.03))
    one = loss_of(estimates, sources)
    other = loss_of(-50 * estimates, 50 * sources)
    torch.testing.assert_close(one, other)


def test_permutation_says_whose_estimate_it_is(device):
    estimates, sources = two_of_three(device, (2.0, 0.1, 0.03))
    expected = loss_of(estimates, sources)
    got = loss_of(estimates[:, [2, 0, 1]], sources, order=(1, 2, 0))
    torch.testing.assert_close(got, expected)


def test_silence_has_no_level(device):
    estimates = torch.randn(2, 2, 300, device=device)
    permutation = torch.tensor([[0, 1], [1, 0]], device=device)
    assert not level_loss(estimates, 0 * estimates, permutation).any()


def test_padding_does_not_count(device):
    estimates, sources = two_of_three(device, (2.0, 0.1, 0.03))
    lengths = torch.tensor([200], device=device)
    expected = loss_of(estimates[..., :200], sources[..., :200])
    estimates[..., 200:] = 9.0
    sources[..., 200:] = 9.0
    got = loss_of(estimates, sources, lengths)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


def test_gradient_goes_to_the_level_of_the_source(device):
    estimates, sources = two_of_three(device, (2.0, 0.1, 0.03))
    estimates.requires_grad_()
    loss_of(estimates, sources).sum().backward()
    slope = (estimates.grad * estimates).sum(dim=-1)[0]
    assert slope[0] > 0 and slope[1] < 0 and slope[2] > 0
    assert estimates.grad.isfinite().all()


def test_gradient_does_not_touch_what_si_snr_sees(device):
    """It is along the estimate, and that of SI-SNR across it."""
    estimates, sources = two_of_three(device, (2.0, 0.1, 0.03))
    estimates = estimates + 0.1 * torch.randn_like(estimates)
    estimates = estimates - estimates.mean(dim=-1, keepdim=True)
    estimates.requires_grad_()
    loss_of(estimates, sources).sum().backward()
    level, estimates.grad = estimates.grad, None
    pit_si_snr_loss(estimates, sources)[0].sum().backward()
    inner = (level * estimates.grad).sum(dim=-1)
    norms = level.norm(dim=-1) * estimates.grad.norm(dim=-1)
    assert (inner.abs() <= 1e-4 * norms + 1e-9).all()


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
