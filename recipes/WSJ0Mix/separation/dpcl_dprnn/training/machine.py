"""What a machine computes fastest, how it keeps its memory, and how much a
system will take of it.
"""

import contextlib
import ctypes
import dataclasses
import weakref

import speechbrain as sb
import torch
from speechbrain.dataio.batch import PaddedBatch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.weak import WeakIdKeyDictionary

from ..common.errors import UserError


def fastest_precision():
    """The training precision that this machine computes fastest: "bf16" on CPUs
    and GPUs with instructions for it, "fp32" on others, where bf16 is emulated.
    """
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        try:
            with open("/proc/cpuinfo", encoding="ascii") as file:
                flags = file.read()
        except OSError:
            flags = ""
        native = "avx512_bf16" in flags or "amx_bf16" in flags
    return "bf16" if native else "fp32"


def reuse_memory():
    """Let the C library keep freed memory instead of giving it back.

    A training step on a CPU frees and takes the same large tensors again and
    again; with glibc's defaults each of them is mapped and zeroed anew by the
    kernel, which took a fifth of the time of a step of `mini.yaml` (with learned
    filters). Elsewhere than on glibc this does nothing.
    """
    mmap_threshold, trim_threshold, top_pad = -3, -1, -2  # malloc.h
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(mmap_threshold, 32 << 20)  # the largest that it takes
        mallopt(trim_threshold, (1 << 31) - 1)
        mallopt(top_pad, 256 << 20)


@dataclasses.dataclass(frozen=True)
class Costs:
    """What training and using a system take, memory in bytes."""

    parameters: int
    multiply_adds: float  # of separation, for a second of sound
    lasting: int  # weights, their averages, and what the optimiser keeps
    step: int  # the most within a step, all of it
    step_on_gpu: int  # the same, with cuDNN's LSTMs instead of oneDNN's
    separation: int  # the most while a window is separated, all of it

    def in_words(self, batch, seconds, window):
        """As text, of steps of a batch of mixtures of so many seconds, and of
        windows of so many.
        """
        fixed = self.lasting / 1e6
        lines = [
            f"Parameters     {self.parameters / 1e6:.2f} million",
            f"Multiply-adds  {self.multiply_adds / 1e9:.2f} G to separate a "
            "second",
        ]
        steps = {"a CPU": self.step, "a GPU": self.step_on_gpu}
        for device, total in steps.items():
            each = (total / 1e6 - fixed) / batch
            lines.append(
                f"Step on {device}  {total / 1e6:.0f} MB in fp32: {fixed:.0f} "
                f"MB, and {each:.0f} MB for each of {batch} mixtures of "
                f"{seconds:.2f} s"
            )
        lines.append(
            f"Separation     {self.separation / 1e6:.0f} MB, in windows of "
            f"{window:.0f} s"
        )
        return "\n".join(lines)


def count_costs(brain, batch, samples, window):
    """Count what a system costs, without computing anything.

    Everything runs on tensors that have shapes and no numbers (PyTorch's
    `FakeTensorMode`), in fp32. Of memory all tensors are counted, and what LSTMs
    keep of a step, or take while they separate. Of multiply-adds those of
    convolutions, matrix products and LSTMs.

    Arguments
    ---------
    brain : engine.Engine
        With a `separator`, on the CPU; of no use any more afterwards.
    batch : int
        Mixtures in a step.
    samples : int
        Of each mixture.
    window : float
        Seconds of sound that are separated at a time.

    Returns
    -------
    Costs

    Raises
    ------
    UserError
        Where PyTorch has no oneDNN, by whose LSTMs it counts.
    """
    if not torch.backends.mkldnn.is_available():
        raise UserError(
            "This PyTorch has no oneDNN, by whose LSTMs costs are counted. "
            "Count them on another machine."
        )
    factor = brain.grad_accumulation_factor
    sizes = (samples, brain.hparams.num_spks)
    items = [
        {
            "id": "",
            "mixture": torch.empty(samples),
            "sources": torch.empty(sizes),
        }
    ] * batch
    mixture = torch.empty(1, round(window * brain.hparams.sample_rate))
    operations = FlopCounterMode(display=False, custom_mapping=OPERATIONS)
    with (
        FakeTensorMode(allow_non_fake_inputs=True),
        Counter(samples) as counter,
    ):
        without_numbers(brain.separator)
        brain.train_sampler = None
        brain.averaged.follow(brain.separator)
        brain.init_optimizers()
        brain.modules.train()
        brain.on_stage_start(sb.Stage.TRAIN, 1)
        # Two steps, of which the first makes what the optimiser keeps
        for brain.step in range(factor + 1, 3 * factor + 1):
            brain.fit_batch(PaddedBatch(items))
        lasting = counter.bytes
        step, step_on_gpu = counter.most, counter.most_on_gpu
        brain.modules.eval()
        weights = sum(p.nbytes for p in brain.separator.parameters())
        before = counter.most = counter.bytes
        with operations, torch.no_grad():
            brain.separator(mixture)
    return Costs(
        parameters=sum(p.numel() for p in brain.separator.parameters()),
        multiply_adds=operations.get_total_flops() / 2 / window,
        lasting=lasting,
        step=step,
        step_on_gpu=step_on_gpu,
        separation=weights + counter.most - before,
    )


class Unreal(TorchDispatchMode):
    """Whoever asks a tensor without numbers for its number, within
    `FakeTensorMode`, gets 1.0, True or the `integer`.
    """

    def __init__(self, integer=1):
        super().__init__()
        self.numbers = {torch.bool: True, torch.int64: integer}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function._schema.name == "aten::_local_scalar_dense":  # item()
            self.asked(args[0])
            return self.numbers.get(args[0].dtype, 1.0)
        out = function(*args, **kwargs or {})
        return self.computed(function._schema.name, args, out)

    def asked(self, tensor):
        """Called with a tensor whose number is asked for."""

    def computed(self, name, args, out):
        """Called with an operation's arguments and result; returns that."""
        return out


class Counter(Unreal):
    """Counts the memory of tensors without numbers, while any use it."""

    def __init__(self, integer=1):
        super().__init__(integer)
        self.bytes = self.most = self.most_on_gpu = 0
        self.spared = 0  # bytes, of those, that a GPU's LSTMs do without
        self.held = WeakIdKeyDictionary()  # memory that was counted

    def computed(self, name, args, out):
        """Count the memory of a result."""
        if name == "aten::mkldnn_rnn_layer" and args[-1]:  # in training
            kept, on_gpu = _kept(args[0], out[0])
            out = [*out[:3], torch.empty(kept, dtype=torch.uint8)]
            self.hold(out[3].untyped_storage(), spared=kept - on_gpu)
        for tensor in tree_iter(out):
            if isinstance(tensor, torch.Tensor):
                self.hold(tensor.untyped_storage())
        if name == "aten::mkldnn_rnn_layer" and not args[-1]:
            scratch = _scratch(args[0], out[0])
            self.change(scratch, scratch)
            self.change(-scratch, -scratch)
        return out

    def hold(self, memory, spared=0):
        """Count memory, once, until nothing uses it any more."""
        if memory not in self.held:
            self.held[memory] = True
            self.change(memory.nbytes(), spared)
            weakref.finalize(memory, self.change, -memory.nbytes(), -spared)

    def change(self, size, spared):
        """Count some bytes more, or less."""
        self.bytes += size
        self.spared += spared
        self.most = max(self.most, self.bytes)
        self.most_on_gpu = max(self.most_on_gpu, self.bytes - self.spared)


def without_numbers(module, device="cpu"):
    """Replace all tensors of a module by some without numbers, within
    `FakeTensorMode`.
    """
    for part in module.modules():
        # SpeechBrain's windows are plain attributes.
        for tensors in (part._parameters, part._buffers, vars(part)):
            for name, tensor in tensors.items():
                if not isinstance(tensor, torch.Tensor):
                    continue
                fake = torch.empty(
                    tensor.shape, dtype=tensor.dtype, device=device
                )
                if isinstance(tensor, torch.nn.Parameter):
                    fake = torch.nn.Parameter(fake, tensor.requires_grad)
                tensors[name] = fake


def _kept(x, y):
    """Bytes kept of an LSTM's direction in training, from x [time, batch, I] to
    y [time, batch, H]: by oneDNN 3.12, as measured (within 2 %), and by cuDNN,
    four gates and a cell (which is what github.com/pytorch/pytorch/issues/2895
    comes to).
    """
    steps, batch, size = x.shape
    hidden = y.shape[-1]
    scale = steps * batch * x.element_size()
    on_cpu = 9.7 * hidden + 5.7 * max(size, hidden)
    return round(scale * on_cpu), scale * 5 * hidden


def _scratch(x, y):
    """Bytes that an LSTM's direction takes while it runs, not in training, by
    oneDNN 3.12: as measured, within 4 %, with two sequences or more at a time.
    Shapes as in `_kept`.
    """
    steps, batch, size = x.shape
    hidden = y.shape[-1]
    scale = (steps + 1) * batch * x.element_size()
    return round(scale * (2 * hidden + 2.2 * max(size, hidden)))


def _lstm_operations(x, input_weights, hidden_weights, *_, **__):
    """Of an LSTM's direction, from shapes; a multiply-add counts twice."""
    columns = input_weights[1] + hidden_weights[1]
    return 2 * x[0] * x[1] * input_weights[0] * columns


# Of what PyTorch's counter does not know
OPERATIONS = {torch.ops.aten.mkldnn_rnn_layer: _lstm_operations}
