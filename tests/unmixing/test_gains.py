"""The scale of voices, and their sum."""

import pytest
import torch

from dpcl_dprnn.unmixing.gains import loudest, make_consistent, to_scale


def test_loudest_keeps_the_order():
    estimates = torch.tensor([[2.0], [-3.0], [1.0]])
    assert loudest(estimates, 2).flatten().tolist() == [2.0, -3.0]


def test_to_scale_is_least_squares():
    estimates = torch.randn(3, 500) * torch.tensor([[1.0], [-9.0], [0.01]])
    mixture = torch.randn(500) + estimates.sum(dim=0)
    gains = torch.linalg.lstsq(estimates.T, mixture[:, None]).solution
    expected = gains * estimates
    error = torch.dist(to_scale(mixture, estimates), expected)
    assert error < 0.05 * expected.norm()  # the ridge


def test_to_scale_of_estimates_that_are_alike():
    """Least squares would give them huge gains of both signs."""
    voice = torch.randn(500)
    estimates = torch.stack([voice, voice + 0.02 * torch.randn(500)])
    wanted = voice + 0.5 * torch.randn(500)
    scaled = to_scale(wanted, estimates)
    assert scaled.abs().max() < 2 * wanted.abs().max()


@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_to_scale_of_silence(gain):
    silent = torch.zeros(2, 50)
    assert torch.equal(to_scale(torch.randn(50) * gain, silent), silent)
    voices = torch.randn(2, 50)
    assert not to_scale(torch.zeros(50), voices).any()


def test_consistency_leaves_silent_estimates_silent(device):
    estimates = torch.randn(3, 50, device=device)
    estimates[1] = 0
    mixture = torch.randn(50, device=device)
    consistent = make_consistent(mixture, estimates)
    torch.testing.assert_close(consistent.sum(dim=0), mixture)
    assert consistent[1].abs().max() < 1e-6


def test_consistency_of_silent_estimates_shares_alike(device):
    mixture = torch.randn(50, device=device)
    consistent = make_consistent(mixture, torch.zeros(2, 50, device=device))
    torch.testing.assert_close(consistent, mixture.expand(2, -1) / 2)
