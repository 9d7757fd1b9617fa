"""Precision and memory."""

import ctypes
import platform
import types

import pytest
import torch

from dpcl_dprnn.training import machine
from dpcl_dprnn.training.machine import fastest_precision


def test_fastest_precision():
    assert fastest_precision() in {"bf16", "fp32"}


@pytest.mark.parametrize("supported", [True, False])
def test_fastest_precision_of_a_gpu(supported, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: supported
    )
    assert fastest_precision() == ("bf16" if supported else "fp32")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_glibc_takes_the_options_that_reuse_memory(monkeypatch):
    """mallopt gives 1 for what it takes, 0 for what it does not know."""
    libc, calls = ctypes.CDLL("libc.so.6"), []

    def mallopt(option, value):
        calls.append((option, libc.mallopt(option, value)))

    fake = types.SimpleNamespace(mallopt=mallopt)
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: fake)
    machine.reuse_memory()
    assert calls == [(-3, 1), (-1, 1), (-2, 1)]


def test_reusing_memory_needs_no_glibc(monkeypatch):
    def fail(name):
        raise OSError(name)

    monkeypatch.setattr(machine.ctypes, "CDLL", fail)
    machine.reuse_memory()
