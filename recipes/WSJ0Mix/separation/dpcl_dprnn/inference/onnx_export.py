"""The mask head as an ONNX file, for programs without Python or PyTorch."""

import contextlib
import copy
import io
import logging
import math
import pathlib
import warnings

import numpy as np
import torch
import torch.nn.functional as F

from ..common.errors import UserError, first_line
from ..common.files import atomic_path
from ..model.encoders import STFTEncoder
from ..sound.rumble import high_pass_taps
from ..unmixing.gains import make_consistent

LONGEST = 3600  # seconds of a signal of any length
SHORTEST = 0.25  # seconds; the filter of rumble takes an eighth
CHECKED = (0.25, 1.3, 4.0)  # seconds of the signals that are compared
TOLERANCE = 1e-4  # of the voices, for signals of full scale
TINY = 1e-20


class RealSTFT(torch.nn.Module):
    """What `STFTEncoder` and `STFTDecoder` do, by convolutions: ONNX has no
    complex numbers.

    Arguments
    ---------
    encoder : encoders.STFTEncoder
    """

    def __init__(self, encoder):
        super().__init__()
        size, self.hop = encoder.stft.n_fft, encoder.hop
        self.half, self.floor = size // 2, encoder.floor
        time = torch.arange(size, dtype=torch.float64)
        bins = torch.arange(self.half + 1, dtype=torch.float64)
        angles = 2 * math.pi * bins[:, None] * time / size
        waves = torch.cat([angles.cos(), -angles.sin()])[:, None]  # [2F, 1, N]
        window = torch.hann_window(size, dtype=torch.float64)
        shares = torch.full((2 * len(bins), 1, 1), 2.0 / size)
        shares[0] /= 2  # which has no twin
        if size % 2 == 0:
            shares[self.half] /= 2  # nor has this
        self.register_buffer("analysis", (window * waves).float())
        self.register_buffer("synthesis", (shares * window * waves).float())
        self.register_buffer("squares", window.square().float()[None, None])

    def forward(self, x):
        """From a signal [1, T] to real and imaginary parts [1, 2F, L]."""
        x = F.pad(x[:, None], (self.half, self.half))
        return F.conv1d(x, self.analysis, stride=self.hop)

    def features(self, encoded):
        """As of `STFTEncoder`, [1, F, L]."""
        parts = encoded.unflatten(1, (2, -1))
        magnitude = parts.square().sum(dim=1).sqrt()
        return torch.log(
            magnitude / magnitude.max().clamp_min(1e-8) + self.floor
        )

    def decode(self, encoded, length):
        """From parts [C, 2F, L] to signals [C, T]."""
        ones = encoded.new_ones(1, 1, encoded.shape[-1])
        x = F.conv_transpose1d(encoded, self.synthesis, stride=self.hop)
        x = x / F.conv_transpose1d(ones, self.squares, stride=self.hop)
        return x[:, 0, self.half : self.half + length]


class MaskPath(torch.nn.Module):
    """What `SpeechSeparator.separate_batch` does for one mixture by masks: all
    voices that the model separates, at the mixture's scale.

    Arguments
    ---------
    unmixer : unmixer.Unmixer
    sample_rate : int
        The model's, in Hz.

    Raises
    ------
    UserError
        When the model has no mask head, or no gains for its outputs.
    """

    def __init__(self, unmixer, sample_rate):
        super().__init__()
        self.separator = copy.deepcopy(unmixer.separator)
        encoder, decode = self.separator.encoder, self.separator.decoder
        if isinstance(encoder, STFTEncoder):
            encoder = RealSTFT(encoder)
            decode = encoder.decode
        self.encoder, self.decode = encoder, decode
        self.consistent = unmixer.mixture_consistency
        if "masks" not in self.separator.heads:
            raise UserError(
                "The model has no mask head: k-means cannot be exported. "
                "Choose another model."
            )
        if not unmixer.output_gains:
            raise UserError(
                "The model has no output_gains, which its test determines. "
                "Train it, or test it with --test_only."
            )
        taps = torch.from_numpy(high_pass_taps(sample_rate)).float()
        self.register_buffer("taps", taps[None, None])
        self.register_buffer("gains", torch.tensor(unmixer.output_gains))

    def forward(self, mixture):
        """From a mixture [1, T] to its voices [1, C, T]."""
        signal = self._without_rumble(mixture)
        peak = signal.abs().max().clamp_min(TINY)
        encoded = self.encoder(signal / peak)  # [1, F or 2F, L]
        features = self.encoder.features(encoded)
        model = self.separator.model
        (x,) = model.trunk([model.read(features)])
        masks = model.mask_head(x)  # [1, C, F, L]
        # Real and imaginary parts have the same mask.
        parts = encoded.unflatten(1, (-1, masks.shape[2])).unsqueeze(1)
        masked = (masks.unsqueeze(2) * parts).flatten(2, 3)
        voices = self.decode(masked.flatten(0, 1), signal.shape[-1])
        voices = self.gains[:, None] * voices * peak
        if self.consistent:
            voices = make_consistent(signal[0], voices)
        return voices[None]

    def _without_rumble(self, x):
        """As `rumble.without_rumble`: a convolution, with mirrored ends."""
        half = self.taps.shape[-1] // 2
        head, tail = x[:, :half].flip(1), x[:, -half:].flip(1)
        x = torch.cat([head, x, tail], dim=1)
        return F.conv1d(x[:, None], self.taps)[:, 0]


def export_onnx(separator, path, seconds=None):
    """Write the mask head, from `mixture` [1, T] to `voices` [1, C, T], as ONNX,
    and compare it with PyTorch by onnxruntime.

    Arguments
    ---------
    separator : separator.SpeechSeparator
    path : str or Path
        What to write, .onnx.
    seconds : float, optional
        The only length that it is to take; by default any of 0.25 s or more.

    Returns
    -------
    float
        The largest difference of voices of noise of full scale, at three
        lengths (or the one).

    Raises
    ------
    UserError
        When a package is missing, the model cannot be exported so, or the
        file gives other voices.
    """
    if seconds is not None and seconds < SHORTEST:
        raise UserError(
            f"The length is {seconds} s; {SHORTEST} s or more are needed."
        )
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{error.name} is missing. Install what export takes: pip install "
            "onnx onnxruntime onnxscript."
        ) from error
    rate = separator.sample_rate
    module = MaskPath(separator.unmixer, rate).cpu().eval()
    example = _noise(round((seconds or 2.0) * rate))
    shapes = None
    if seconds is None:
        lengths = {"min": round(SHORTEST * rate), "max": LONGEST * rate}
        shapes = {"mixture": {1: torch.export.Dim("samples", **lengths)}}
    with _in_quiet():
        try:
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=["mixture"],
                output_names=["voices"],
            )
        except Exception as error:  # of many kinds, of PyTorch's exporter
            advice = "Give one length, by --seconds."
            if seconds is not None:
                advice = "Its parts may have no counterpart in ONNX."
            raise UserError(
                "PyTorch cannot export the model for "
                f"{'any length' if seconds is None else 'this length'}: "
                f"{first_line(error)}. {advice}"
            ) from error
    path = pathlib.Path(path)
    with atomic_path(path) as temporary:
        program.save(str(temporary))
        session = onnxruntime.InferenceSession(
            str(temporary), providers=["CPUExecutionProvider"]
        )
        worst = 0.0
        for length in [seconds] if seconds else CHECKED:
            mixture = _noise(round(length * rate))
            (voices,) = session.run(None, {"mixture": mixture.numpy()})
            wanted = separator.separate_batch(
                mixture, separator.num_spks, "masks"
            )
            wanted = wanted.transpose(1, 2).cpu().numpy()
            worst = max(worst, float(np.abs(voices - wanted).max()))
        if worst > TOLERANCE:
            raise UserError(
                f"The exported model's voices differ by {worst:.1e} from "
                f"PyTorch's, more than {TOLERANCE:g}: nothing was written. "
                "Try another version of PyTorch or onnxruntime."
            )
    return worst


def _noise(samples):
    """A mixture [1, T] of peak 1 whose level changes, always the same."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, samples, generator=generator)
    x = x * torch.linspace(0.1, 1, samples)
    return x / x.abs().max()


@contextlib.contextmanager
def _in_quiet():
    """Without what the exporter says of its steps and of opinions."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
