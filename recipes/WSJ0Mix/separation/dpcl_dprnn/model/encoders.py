"""Encoders and decoders: waveforms to a two-dimensional representation.

One contract for all of them. An encoder maps waveforms to a representation
of F bins by L frames, `features` turns that into what a trunk reads, and the
matching decoder maps a (masked) representation back to waveforms of a given
length:

    representation = encoder(x)                      # [B, T] -> [B, F, L]
    x = decoder(representation, length=T)            # [B, F, L] -> [B, T]

Every length from one sample up is accepted, `encoder.frames(T)` tells L,
`encoder.longest(L)` the most samples of so many frames, and the decoder returns
exactly `length` samples with none of them cut off.
See model.py for the alphabet of axes.
"""

import torch
import torch.nn.functional as F
from speechbrain.lobes.models.dual_path import Encoder as _StockEncoder
from speechbrain.processing.features import STFT


class LearnedEncoder(_StockEncoder):
    """SpeechBrain's learned encoder: a convolution and a ReLU.

    The stride is half the kernel (TasNet, Luo & Mesgarani, arXiv
    1809.07454). The signal is padded by one stride on both sides, and to a
    whole number of strides, so that every sample is seen by two frames.

    Arguments
    ---------
    kernel_size : int
        Length of the filters in samples, even.
    out_channels : int
        Number of filters, F.

    Example
    -------
    >>> encoder = LearnedEncoder(kernel_size=16, out_channels=64)
    >>> encoder(torch.randn(2, 1001)).shape
    torch.Size([2, 64, 127])
    """

    def __init__(self, kernel_size=16, out_channels=256):
        if kernel_size < 2 or kernel_size % 2:
            raise ValueError(
                f"kernel_size must be even and positive, not {kernel_size}"
            )
        super().__init__(kernel_size=kernel_size, out_channels=out_channels)
        self.stride = kernel_size // 2

    def frames(self, length):
        """Number of frames L of a signal of `length` samples."""
        return -(-length // self.stride) + 1

    def longest(self, frames):
        """The most samples T that have so many frames, 2 or more."""
        return (frames - 1) * self.stride

    def forward(self, x):
        """Encode waveforms.

        Arguments
        ---------
        x : torch.Tensor, [B, T]

        Returns
        -------
        torch.Tensor, [B, F, L], non-negative
        """
        tail = -x.shape[-1] % self.stride
        return super().forward(F.pad(x, (self.stride, self.stride + tail)))

    def features(self, representation):
        """What the trunk reads: the representation itself, [B, F, L]."""
        return representation


class LearnedDecoder(torch.nn.ConvTranspose1d):
    """The transposed convolution that goes with `LearnedEncoder`.

    Its stride follows from the kernel, as the encoder's does, so that the
    two cannot disagree.

    Arguments
    ---------
    kernel_size : int
        Length of the filters in samples, even.
    in_channels : int
        Number of filters, F.

    Example
    -------
    >>> decoder = LearnedDecoder(kernel_size=16, in_channels=64)
    >>> decoder(torch.randn(2, 64, 127), length=1001).shape
    torch.Size([2, 1001])
    """

    def __init__(self, kernel_size=16, in_channels=256):
        super().__init__(
            in_channels,
            1,
            kernel_size=kernel_size,
            stride=kernel_size // 2,
            bias=False,
        )

    def forward(self, representation, length):
        """Decode to waveforms.

        Arguments
        ---------
        representation : torch.Tensor, [B, F, L]
        length : int
            Samples wanted, T.

        Returns
        -------
        torch.Tensor, [B, T]
        """
        # As a matrix product and an overlap-add of halves, which is faster
        # than PyTorch's transposed convolution to a single channel.
        frames = representation.transpose(1, 2) @ self.weight.squeeze(1)
        first, second = frames.chunk(2, dim=-1)  # [B, L, kernel_size / 2]
        # What is left out is the encoder's padding.
        return (first[:, 1:] + second[:, :-1]).flatten(1)[:, :length]


class STFTEncoder(torch.nn.Module):
    """Short-time Fourier transform with a Hann window.

    Frame l is centred on sample l * hop.

    Arguments
    ---------
    n_fft : int
        Window and transform length in samples.
    hop : int
        Samples between frames.
    floor : float
        Added to the magnitude before the logarithm of `features`; relative
        to the largest magnitude of the utterance.

    Example
    -------
    >>> encoder = STFTEncoder(n_fft=256, hop=64)
    >>> encoder(torch.randn(2, 1000)).shape
    torch.Size([2, 129, 16])
    """

    def __init__(self, n_fft=256, hop=64, floor=1e-3):
        super().__init__()
        if hop > n_fft // 2:
            raise ValueError(f"hop ({hop}) must be at most n_fft / 2 ({n_fft})")
        self.hop = hop
        self.floor = floor
        # SpeechBrain's STFT takes sizes in ms: at 1000 samples a second
        # they are samples, whatever the rate of the data.
        self.stft = STFT(
            sample_rate=1000,
            win_length=n_fft,
            hop_length=hop,
            n_fft=n_fft,
            window_fn=torch.hann_window,
        )

    def frames(self, length):
        """Number of frames L of a signal of `length` samples."""
        return length // self.hop + 1

    def longest(self, frames):
        """The most samples T that have so many frames."""
        return frames * self.hop - 1

    def forward(self, x):
        """Encode waveforms.

        Arguments
        ---------
        x : torch.Tensor, [B, T]

        Returns
        -------
        torch.Tensor, [B, F, L], complex
        """
        spectrum = self.stft(x.float())  # [B, L, F, 2]
        return torch.view_as_complex(spectrum.contiguous()).transpose(1, 2)

    def features(self, representation):
        """Log magnitude relative to the loudest bin, [B, F, L], in nepers."""
        magnitude = representation.abs()
        peak = magnitude.amax(dim=(1, 2), keepdim=True).clamp_min(1e-8)
        return torch.log(magnitude / peak + self.floor)


class STFTDecoder(torch.nn.Module):
    """Inverse short-time Fourier transform for `STFTEncoder`.

    The least-squares estimate of a signal from its frames (Griffin & Lim,
    1984, eq. 6). PyTorch's own, which SpeechBrain's calls, waits for its device
    to see whether the windows add up to more than 0: those of `STFTEncoder` do.

    Arguments
    ---------
    n_fft : int
        Window and transform length in samples.
    hop : int
        Samples between frames.

    Example
    -------
    >>> x = torch.randn(2, 1000)
    >>> y = STFTDecoder()(STFTEncoder()(x), length=1000)
    >>> bool((x - y).abs().max() < 1e-5)
    True
    """

    def __init__(self, n_fft=256, hop=64):
        super().__init__()
        self.n_fft = n_fft
        self.hop = hop

    def forward(self, representation, length):
        """Decode to waveforms.

        Arguments
        ---------
        representation : torch.Tensor, [B, F, L], complex
        length : int
            Samples wanted, T.

        Returns
        -------
        torch.Tensor, [B, T]
        """
        n_fft = self.n_fft
        window = torch.hann_window(n_fft, device=representation.device)[:, None]
        frames = torch.fft.irfft(representation, n=n_fft, dim=1)
        frames = frames * window  # [B, n_fft, L]
        squares = window.square().expand(frames.shape[1:])
        added = F.fold(
            torch.cat([frames, squares[None]]),
            output_size=(1, (frames.shape[-1] - 1) * self.hop + n_fft),
            kernel_size=(1, n_fft),
            stride=(1, self.hop),
        )
        added = added.flatten(1)[:, n_fft // 2 :][:, :length]
        return added[:-1] / added[-1]
