"""CUDA without a GPU: tensors that have shapes, types and devices, no numbers.

An operation that mixes devices raises, as it would on a GPU; what waits for the
GPU, and what is sent to it, is kept.
"""

import contextlib
import functools
import multiprocessing
import traceback

import numpy as np
import pytest
import torch
import torch._dynamo  # or each child would import it, for two seconds
from torch._subclasses.fake_tensor import FakeTensorMode

import dpcl_dprnn
from dpcl_dprnn.training import machine
from dpcl_dprnn.training.machine import Unreal, without_numbers

PACKAGE = dpcl_dprnn.__path__[0].rpartition("/")[0]


class Watch(Unreal):
    """Keeps where the device is waited for, and where it is sent something."""

    def __init__(self, integer=1):
        super().__init__(integer)
        self.waits, self.sent = [], []

    def asked(self, tensor):
        if tensor.device.type == "cuda":
            self.waits.append(_where())

    def computed(self, name, args, out):
        if name in ("aten::_to_copy", "aten::copy_"):
            source = args[1] if name == "aten::copy_" else args[0]
            there, here = source.device.type, out.device.type
            if (there, here) == ("cuda", "cpu"):
                self.waits.append(_where())
            if (there, here) == ("cpu", "cuda"):
                self.sent.append(_where())
        return out


def _where():
    """The line of ours that an operation was called from."""
    for frame in reversed(traceback.extract_stack()):
        here = frame.filename == machine.__file__  # of `Unreal` itself
        if frame.filename.startswith(PACKAGE) and not here:
            place = frame.filename.removeprefix(PACKAGE + "/")
            return f"{place}:{frame.lineno} {frame.line}"
    return "elsewhere"


def in_a_child(test):
    """Run a test in a process of its own: once PyTorch has pretended, it has
    threads, and no process that goes backwards can be forked any more.
    """

    @functools.wraps(test)
    def run(**arguments):
        context = multiprocessing.get_context("fork")
        said = context.SimpleQueue()
        child = context.Process(target=_tell, args=(test, arguments, said))
        child.start()
        child.join(timeout=100)
        child.kill()
        assert not said.empty(), f"ended or hung: {child.exitcode}"
        error = said.get()
        assert not error, error

    return run


def _tell(test, arguments, said):
    torch.set_num_threads(1)  # a fork has none of its parent's others
    error = ""
    try:
        test(**arguments)
    except BaseException:
        error = traceback.format_exc()[-9000:]
    said.put(error)


@contextlib.contextmanager
def pretended_cuda(*modules, beside=(), integer=1):
    """Have modules on pretended CUDA within the block, and give a `Watch`, which
    takes an `integer`. Those beside them are pretended on the CPU.

    PyTorch's engine does not go backwards there without a GPU: gradients have
    their shapes all the same.
    """
    before = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False  # which asks the driver
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            for module in (*modules, *beside):
                device = "cuda" if module in modules else "cpu"
                without_numbers(module, device)
            parameters = [p for m in modules for p in m.parameters()]
            with Watch(integer) as watch, pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    torch.Tensor, "backward", lambda _: _fill(parameters)
                )
                patch.setattr(torch.autograd, "grad", _gradients)
                patch.setattr(torch.Tensor, "numpy", _numbers)
                yield watch
    finally:
        torch.backends.cudnn.enabled = before


def _fill(parameters):
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter)


def _gradients(_, inputs, **options):
    return [torch.empty_like(each) for each in inputs]


def _numbers(tensor):
    """Ones, in place of numbers that do not exist."""
    if tensor.device.type != "cpu":
        raise TypeError("can't convert a tensor of CUDA to numpy")
    dtype = str(tensor.dtype).removeprefix("torch.")
    return np.ones(tensor.shape, dtype)
