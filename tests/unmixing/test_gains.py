"""The scale of voices, their sum, and which belong together."""

import pytest
import torch
from ideal import ideal_unmixer, tones

from dpcl_dprnn.unmixing.gains import (
    add_up,
    group_alike,
    loudest,
    make_consistent,
    to_scale,
    voice_embeddings,
)


def test_group_alike_joins_silent_pieces_first():
    sums = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 0.0]])
    assert group_alike(sums, 2).tolist() == [0, 1, 0]
    assert group_alike(sums, 1).tolist() == [0, 0, 0]
    assert group_alike(sums, 3).tolist() == [0, 1, 2]


def test_group_alike_goes_by_directions_not_by_sizes():
    sums = torch.tensor([[9.0, 1], [0.1, 3], [0.9, 0.2], [0.01, 0.1]])
    assert group_alike(sums, 2).tolist() == [0, 1, 0, 1]


def test_add_up_is_a_sum_over_the_pieces_of_each_voice(device):
    pieces = torch.randn(4, 9, device=device)
    voices = add_up(pieces, torch.tensor([2, 0, 2, 2]), 3)
    expected = pieces[0] + pieces[2] + pieces[3]
    torch.testing.assert_close(voices[2], expected)
    assert torch.equal(voices[0], pieces[1]) and not voices[1].any()


def test_loudest_keeps_the_order():
    estimates = torch.tensor([[2.0], [-3.0], [1.0]])
    assert loudest(estimates, 2).flatten().tolist() == [2.0, -3.0]


def test_voice_embeddings_are_weighted_sums():
    unmixer = ideal_unmixer(2)
    sources = tones(300, 2500)
    embeddings = torch.nn.functional.normalize(torch.randn(51, 33, 5), dim=-1)
    got = voice_embeddings(unmixer.separator, sources, embeddings)
    encoded = unmixer.separator.grid_encoder(sources)  # [C, F, L]
    magnitude = encoded.sum(dim=0).abs()
    weights = magnitude * (magnitude > 0.01 * magnitude.max())
    weights = (weights / weights.sum()).T  # [L, F]
    for index in range(2):
        share = encoded[index].abs() ** 2 / (encoded.abs() ** 2).sum(dim=0)
        expected = ((weights * share.T)[..., None] * embeddings).sum((0, 1))
        torch.testing.assert_close(got[index], expected, atol=1e-6, rtol=0)


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
