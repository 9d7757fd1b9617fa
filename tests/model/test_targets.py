"""The ideal binary mask and the weights of bins."""

import pytest
import torch

from dpcl_dprnn.model.targets import bin_weights, dominant_source


@pytest.mark.parametrize("num_spks", [2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_dominant_source_is_the_argmax_of_magnitudes(num_spks, dtype, device):
    sources = torch.randn(2, num_spks, 5, 7, dtype=dtype, device=device)
    index = sources.abs().argmax(dim=1).transpose(1, 2)  # [B, L, F]
    expected = torch.nn.functional.one_hot(index, num_spks).float()
    assert torch.equal(dominant_source(sources), expected)


def test_nobody_dominates_where_sources_tie(device):
    sources = torch.tensor([[0.0, 1, 2, 3], [0, 1, -2, 1], [0, 0, 1, 3]])
    targets = dominant_source(sources.reshape(1, 3, 1, 4).to(device))
    assert not targets.any()


@pytest.mark.parametrize("threshold_db", [20.0, 40.0])
def test_weight_is_the_magnitude_of_active_bins(threshold_db, device):
    levels = torch.tensor([0.0, -19.9, -20.1, -39.9, -40.1, -200.0])
    scales = torch.tensor([1.0, 1e-3])  # a quiet utterance is no different
    mixture = 10 ** (levels / 20) * scales[:, None, None]  # [B, F, L]
    weights = bin_weights(mixture.to(device), threshold_db)
    expected = mixture * (levels > -threshold_db)
    torch.testing.assert_close(weights.cpu(), expected.transpose(1, 2))


def test_complex_bins_weigh_their_magnitude(device):
    mixture = torch.randn(2, 5, 7, dtype=torch.complex64, device=device)
    weights = bin_weights(mixture, threshold_db=200)
    torch.testing.assert_close(weights, mixture.abs().transpose(1, 2))


def test_silence_has_no_active_bin(device):
    mixture = torch.stack([torch.zeros(5, 7), torch.ones(5, 7)]).to(device)
    weights = bin_weights(mixture)
    assert not weights[0].any()
    assert weights[1].all()
