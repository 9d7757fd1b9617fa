"""Encoders and decoders keep every sample, whatever the length."""

import pytest
import torch
from speechbrain.lobes.models.dual_path import Encoder as StockEncoder

from dpcl_dprnn.model.encoders import (
    LearnedDecoder,
    LearnedEncoder,
    STFTDecoder,
    STFTEncoder,
)

LENGTHS = [*range(1, 20), 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 1001]


def make_pair(kind, device):
    """An encoder, its decoder and their number of bins."""
    if kind == "stft":
        pair = STFTEncoder(n_fft=32, hop=8), STFTDecoder(n_fft=32, hop=8)
        bins = 17
    else:
        size = {"kernel 2": 2, "kernel 16": 16}[kind]
        pair = LearnedEncoder(size, 24), LearnedDecoder(size, 24)
        bins = 24
    return *(module.to(device) for module in pair), bins


KINDS = pytest.mark.parametrize("kind", ["stft", "kernel 2", "kernel 16"])


@KINDS
def test_shapes_of_every_length(kind, device):
    encoder, decoder, bins = make_pair(kind, device)
    for length in LENGTHS:
        x = torch.randn(2, length, device=device)
        encoded = encoder(x)
        assert encoded.shape == (2, bins, encoder.frames(length)), length
        assert encoder.features(encoded).shape == encoded.shape
        assert decoder(encoded, length=length).shape == (2, length)


@pytest.mark.parametrize("length", [1, 2, 63, 64, 200, 256, 257, 1000, 4001])
def test_stft_round_trip_is_identity(length, device):
    x = torch.randn(3, length, device=device)
    decoder = STFTDecoder(n_fft=256, hop=64).to(device)
    y = decoder(STFTEncoder(n_fft=256, hop=64).to(device)(x), length=length)
    torch.testing.assert_close(y, x, atol=1e-5, rtol=0)


@pytest.mark.parametrize("n_fft, hop", [(256, 64), (256, 128), (48, 20)])
def test_inverse_of_any_spectrum_is_that_of_pytorch(n_fft, hop, device):
    """Also of one that is no transform of a signal, as masked ones are."""
    encoder, decoder = STFTEncoder(n_fft, hop), STFTDecoder(n_fft, hop)
    mask = torch.rand(3, n_fft // 2 + 1, encoder.frames(1000), device=device)
    masked = mask * encoder.to(device)(torch.randn(3, 1000, device=device))
    window = torch.hann_window(n_fft, device=device)
    expected = torch.istft(masked, n_fft, hop, window=window, length=1000)
    decoded = decoder.to(device)(masked, length=1000)
    torch.testing.assert_close(decoded, expected, atol=1e-5, rtol=1e-5)


def test_stft_frame_is_a_windowed_transform_centred_on_its_sample(device):
    n_fft, hop, frame = 32, 8, 5
    x = torch.randn(1, 200, device=device)
    start = frame * hop - n_fft // 2
    window = torch.hann_window(n_fft, device=device)
    expected = torch.fft.rfft(x[0, start : start + n_fft] * window)
    encoded = STFTEncoder(n_fft, hop).to(device)(x)
    torch.testing.assert_close(encoded[0, :, frame], expected)


def test_stft_features_are_log_magnitudes_below_the_loudest_bin(device):
    encoder = STFTEncoder(floor=1e-3).to(device)
    encoded = encoder(torch.randn(2, 2000, device=device))
    features = encoder.features(encoded)
    magnitude = encoded.abs() / encoded.abs().amax((1, 2), keepdim=True)
    torch.testing.assert_close(features.exp(), magnitude + 1e-3)
    louder = encoder.features(50 * encoded)
    torch.testing.assert_close(louder, features, atol=1e-4, rtol=0)
    assert encoder.features(0 * encoded).isfinite().all()


@pytest.mark.parametrize("kind", ["kernel 2", "kernel 16"])
@pytest.mark.parametrize("length", [1, 7, 8, 9, 15, 17, 100, 101])
def test_every_sample_influences_the_decoded_signal(kind, length, device):
    encoder, decoder, _ = make_pair(kind, device)
    x = torch.randn(1, length, device=device, requires_grad=True)
    decoder(encoder(x), length=length).square().sum().backward()
    assert (x.grad != 0).all()


@pytest.mark.parametrize("length", [1, 8, 17, 100])
def test_every_decoded_sample_can_be_reached(length, device):
    """No sample is a zero that pads what the decoder left out."""
    encoder, decoder, bins = make_pair("kernel 16", device)
    shape = 1, bins, encoder.frames(length)
    y = decoder(torch.randn(shape, device=device), length=length)
    assert (y != 0).all()


@pytest.mark.parametrize("length", [16, 100, 1000])
def test_learned_encoder_agrees_with_stock_inside(length, device):
    encoder = LearnedEncoder(16, 24).to(device)
    stock = StockEncoder(16, 24).to(device)
    stock.load_state_dict(encoder.state_dict(), strict=True)
    x = torch.randn(2, length, device=device)
    expected = stock(x)
    inside = encoder(x)[..., 1 : 1 + expected.shape[-1]]
    torch.testing.assert_close(inside, expected)


@pytest.mark.parametrize("kernel_size", [2, 16])
@pytest.mark.parametrize("length", [1, 16, 100, 1000])
def test_learned_decoder_is_the_transposed_convolution(
    kernel_size, length, device
):
    """Without the encoder's padding; of what lies in memory in any order."""
    decoder = LearnedDecoder(kernel_size, 24).to(device).double()
    stride = kernel_size // 2
    frames = LearnedEncoder(kernel_size, 24).frames(length)
    x = torch.randn(2, 24, frames, device=device).double().requires_grad_()
    expected = torch.nn.ConvTranspose1d.forward(decoder, x)[:, 0, stride:]
    expected = expected[:, :length]
    direction = torch.randn_like(expected)
    inputs = [x, decoder.weight]
    slopes = torch.autograd.grad(expected, inputs, direction)
    for order in ((0, 1, 2), (0, 2, 1)):
        y = x.permute(order).contiguous().permute(order)
        got = decoder(y, length=length)
        torch.testing.assert_close(got, expected)
        got = torch.autograd.grad(got, inputs, direction)
        torch.testing.assert_close(got, slopes)


@pytest.mark.parametrize("kernel_size", [-2, 0, 1, 15])
def test_learned_encoder_refuses_a_kernel_without_a_half(kernel_size):
    with pytest.raises(ValueError, match="kernel_size"):
        LearnedEncoder(kernel_size, 24)


@pytest.mark.parametrize("frames", [2, 3, 50, 251])
def test_longest_signal_of_so_many_frames(frames):
    """A sample more is a frame more."""
    for encoder in (LearnedEncoder(16, 4), STFTEncoder(256, 64)):
        longest = encoder.longest(frames)
        assert encoder.frames(longest) == frames
        assert encoder.frames(longest + 1) == frames + 1
