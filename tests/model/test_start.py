"""A separator that starts from the mixture gives the mixture."""

import numpy as np
import pytest
import torch
from speechbrain.lobes.models.dual_path import SBRNNBlock, SBTransformerBlock
from speechbrain.nnet.losses import get_si_snr_with_pitwrapper

from dpcl_dprnn.model.encoders import (
    LearnedDecoder,
    LearnedEncoder,
    STFTDecoder,
    STFTEncoder,
)
from dpcl_dprnn.model.losses import pit_si_snr_loss
from dpcl_dprnn.model.networks import DualPathSeparator
from dpcl_dprnn.model.separator import Separator
from dpcl_dprnn.model.start import fourier_filters, remember


def rnn(size=8, kind="LSTM"):
    return SBRNNBlock(size, size, 1, rnn_type=kind, bidirectional=True)


def transformer():
    return SBTransformerBlock(2, 8, nhead=2, d_ffn=8)


def make(start, kernel_size=16, filters=64, stft=False, **options):
    if stft:
        encoder, decoder, filters = STFTEncoder(), STFTDecoder(), 129
    else:
        encoder = LearnedEncoder(kernel_size, filters)
        decoder = LearnedDecoder(kernel_size, filters)
    blocks = {"intra_model": rnn(), "inter_model": rnn()}
    settings = {**blocks, "num_layers": 3, "K": 10, **options}
    model = DualPathSeparator(in_channels=filters, out_channels=8, **settings)
    return Separator(encoder, model, decoder, initial_weights=start)


@pytest.mark.parametrize("count", [8, 9, 16, 32, 33, 34, 48, 256])
@pytest.mark.parametrize("kernel_size", [2, 8, 16])
def test_filters_reconstruct_where_there_are_enough(kernel_size, count):
    """The decoder's response to what the ReLU leaves of the encoder's."""
    filters = fourier_filters(kernel_size, count).double()
    assert filters.shape == (count // 2 * 2, kernel_size)
    x = torch.randn(kernel_size, dtype=torch.float64)
    got = filters.T @ (filters @ x).relu()
    # Half of the signal passes; the windows of two frames sum to 1.
    window = torch.sin(
        torch.pi * (torch.arange(kernel_size) + 0.5) / kernel_size
    )
    wanted = window.double() ** 2 * x
    if count >= 2 * kernel_size:
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)
    else:  # a projection: it can only lose
        assert (got - wanted).norm() < wanted.norm()


def test_filters_are_a_fourier_basis():
    """Of NumPy's transform the real and imaginary parts, up to their signs."""
    filters = fourier_filters(16, 32)[:16]
    window = np.sin(np.pi * (np.arange(16) + 0.5) / 16)
    waves = np.fft.rfft(np.eye(16), axis=0)  # [k, t]
    scale = np.sqrt(np.where(np.isin(np.arange(9), (0, 8)), 1, 2) / 16)
    waves *= scale[:, None]
    parts = np.stack([waves.real, -waves.imag], axis=1).reshape(18, 16)
    parts = np.delete(parts, [1, 17], axis=0)  # of 0 Hz and the highest: none
    np.testing.assert_allclose(filters, parts * window, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kernel_size": 4, "filters": 33},
        {"overlap": False},
        {"num_spks": 3},
        {"num_spks": 3, "mask_activation": "sigmoid"},
        {"norm": "gln"},
        {"norm": None},
        {"intra_model": transformer(), "inter_model": transformer()},
        {"intra_model": rnn(kind="GRU"), "inter_model": rnn(kind="GRU")},
        {"stft": True},
    ],
    ids=str,
)
@torch.no_grad()
def test_loss_at_the_start_is_that_of_the_mixture(options, device):
    """Within 0.5 dB, by SpeechBrain's loss too; at random it is far off."""
    sources = torch.randn(4, options.get("num_spks", 2), 2000, device=device)
    sources = torch.nn.functional.avg_pool1d(sources, 4, 1, 2)[..., :2000]
    mixture = sources.sum(dim=1)
    mixtures = mixture.unsqueeze(1).expand_as(sources)
    wanted, _ = pit_si_snr_loss(mixtures, sources)
    separator = make("mixture", **options).to(device)
    estimates = separator(mixture).estimates
    got, _ = pit_si_snr_loss(estimates, sources)
    torch.testing.assert_close(got, wanted, rtol=0, atol=0.5)
    random = make("random", **options).to(device)
    far, _ = pit_si_snr_loss(random(mixture).estimates, sources)
    assert (far > wanted + 3).all()
    stock = get_si_snr_with_pitwrapper(
        sources.transpose(1, 2), estimates.transpose(1, 2)
    )
    torch.testing.assert_close(stock, wanted, rtol=0, atol=0.5)


@torch.no_grad()
def test_a_single_output_starts_as_the_mixture_too():
    """Of sigmoids, which cannot be 1."""
    separator = make("mixture", num_spks=1, mask_activation="sigmoid")
    mixture = torch.randn(2, 2000)
    loss, _ = pit_si_snr_loss(separator(mixture).estimates, mixture[:, None])
    assert (loss < -20).all()


@torch.no_grad()
def test_without_a_start_the_weights_are_the_stock_ones():
    """Drawn by the same random numbers, and no parameter more."""
    models = []
    for start in ("random", "mixture"):
        torch.manual_seed(0)
        models.append(make(start))
    random, mixture = (model.state_dict() for model in models)
    assert set(mixture) - set(random) == {"model.end_conv1x1.bias"}
    changed = {k for k in random if not torch.equal(random[k], mixture[k])}
    kept = {key for key in random if "weight_" in key or "conv2d" in key}
    assert kept and not kept & changed
    assert {"encoder.conv1d.weight", "decoder.weight"} < changed
    assert not any("end_conv1x1.bias" in key for key in random)


def test_encoder_and_decoder_begin_alike():
    separator = make("mixture")
    encoder, decoder = separator.encoder.conv1d.weight, separator.decoder.weight
    assert torch.equal(encoder, decoder)
    assert encoder.data_ptr() != decoder.data_ptr()  # and may part


@torch.no_grad()
def test_remembering_is_the_forget_gates():
    """With other gates shut half-way, a cell keeps sigmoid(2) of its state."""
    lstm = torch.nn.LSTM(1, 1, bidirectional=True)
    for weight in lstm.parameters():
        weight.zero_()
    remember(lstm, 2.0)
    state = torch.ones(2, 1, 1)
    _, (_, cell) = lstm(torch.zeros(1, 1, 1), (torch.zeros(2, 1, 1), state))
    kept = torch.sigmoid(torch.tensor(2.0))
    torch.testing.assert_close(cell, kept.expand(2, 1, 1))


@torch.no_grad()
def test_weights_without_a_mask_bias_load():
    """Those of SpeechBrain, whose masks they then give."""
    stock, ours = make("random"), make("mixture")
    ours.load_state_dict(stock.state_dict())
    assert not ours.model.end_conv1x1.bias.any()
    x = torch.randn(1, 500)
    assert torch.equal(stock(x).estimates, ours(x).estimates)
    again = make("mixture")
    again.load_state_dict(ours.state_dict())
    assert torch.equal(again(x).estimates, ours(x).estimates)


def test_other_starts_are_refused():
    with pytest.raises(ValueError, match="mixture or random"):
        make("good")
