"""What training needs and SpeechBrain does not have, or has with a defect."""

import contextlib
import ctypes
import platform
import signal
import sys

import torch
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.epoch_loop import EpochCounterWithStopper


@register_checkpoint_hooks
class EarlyStopping(EpochCounterWithStopper):
    """SpeechBrain's early stopping, mended for metrics below zero.

    The parent asks for a relative improvement of 1e-6 but gets its sign
    wrong for negative metrics, such as a loss in -dB: a constant value then
    counts as an improvement for ever. Here any improvement counts. The number
    of the epoch, `current`, is in shared memory, where the workers of a
    loader that lives for several epochs see it too.

    Example
    -------
    >>> counter = EarlyStopping(
    ...     limit=10, limit_to_stop=2, limit_warmup=0, direction="min")
    >>> for epoch in counter:
    ...     counter.update_metric(-10.0)
    >>> epoch
    3
    """

    def __init__(self, limit, limit_to_stop, limit_warmup, direction):
        self._current = torch.zeros((), dtype=torch.int64).share_memory_()
        super().__init__(limit, limit_to_stop, limit_warmup, direction)
        self.min_delta = 0.0

    @property
    def current(self):
        """The number of the epoch, from 1; 0 before the first."""
        return int(self._current)

    @current.setter
    def current(self, number):
        self._current.fill_(number)

    @mark_as_saver
    def _save(self, path):
        """See the parent, who is not registered: of it, checkpoints would
        have the number of the epoch alone.
        """
        super()._save(path)

    @mark_as_loader
    def _recover(self, path, end_of_epoch=True):
        """See the parent; the limits are those of now."""
        super()._recover(path, end_of_epoch)
        waited = self.current - self.best_limit
        self.should_stop = (
            self.current > self.limit_warmup and waited >= self.limit_to_stop
        )


@register_checkpoint_hooks
class AveragedWeights:
    """An exponential average of a module's weights, which often separates
    better than the weights of any one step (Polyak & Juditsky, 1992).

    Arguments
    ---------
    decay : float, optional
        Of the average in each step, at most: in step n it is (1 + n) / (10 + n)
        where that is less, so that the initial weights are soon forgotten.
        Without, nothing is averaged; what was read is exchanged all the same.

    Example
    -------
    >>> layer, averaged = torch.nn.Linear(1, 1), AveragedWeights(decay=0.5)
    >>> averaged.follow(layer)
    >>> _ = layer.weight.data.fill_(1.0)
    >>> averaged.update()
    """

    def __init__(self, decay=None):
        if decay is not None and not 0 < decay < 1:
            raise ValueError(f"decay is {decay}; it must be between 0 and 1")
        self.decay = decay
        self.steps = 0

    def follow(self, module):
        """Average the weights of a module from now on, on its device."""
        self.module = module
        self.average = None  # of each parameter

    @torch.no_grad()
    def update(self):
        """Take a step of the module's weights into the average."""
        if self.decay is None:
            return
        weights = list(self.module.parameters())
        if self.average is None:  # on the device where the module is by now
            self.average = [weight.clone() for weight in weights]
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, weights, 1 - decay)

    @torch.no_grad()
    def exchange(self):
        """Let the module and the average change places; twice is nothing."""
        if self.average is None:
            return
        weights = list(self.module.parameters())
        for weight, mean in zip(weights, self.average, strict=True):
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)

    @mark_as_saver
    def save(self, path):
        """Write the average, by the parameters' names, and its steps."""
        names = [name for name, _ in self.module.named_parameters()]
        means = dict(zip(names, self.average or (), strict=False))
        torch.save({"steps": self.steps, "average": means}, path)

    @mark_as_loader
    def load(self, path, end_of_epoch=True):
        """Read what `save` wrote, to the devices of the parameters."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.steps = state["steps"]
        self.average = [
            state["average"][name].to(weight.device)
            for name, weight in self.module.named_parameters()
            if name in state["average"]
        ] or None


def fastest_precision():
    """The training precision that this machine computes fastest.

    bf16 on CPUs and GPUs with instructions for it, fp32 on others, where
    bf16 is emulated.

    Returns
    -------
    str
        "bf16" or "fp32".
    """
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        try:
            with open("/proc/cpuinfo", encoding="ascii") as file:
                flags = file.read()
        except OSError:
            flags = ""
        x86 = platform.machine() in ("x86_64", "AMD64")
        native = x86 and ("avx512_bf16" in flags or "amx_bf16" in flags)
    return "bf16" if native else "fp32"


def reuse_memory():
    """Let the C library keep freed memory instead of giving it back.

    A training step on a CPU frees and takes the same large tensors again and
    again; with glibc's defaults each of them is mapped and zeroed anew by the
    kernel, which took a fifth of the time of a step of `mini.yaml`. Elsewhere than on
    glibc this does nothing.
    """
    mmap_threshold, trim_threshold, top_pad = -3, -1, -2  # malloc.h
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(mmap_threshold, 32 << 20)  # the largest that it takes
        mallopt(trim_threshold, (1 << 31) - 1)
        mallopt(top_pad, 256 << 20)


@contextlib.contextmanager
def exit_on_sigterm():
    """Make SIGTERM an exception within the block, so that what is half
    written is removed.

    Not for training: a process that waits for others could not be ended.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
