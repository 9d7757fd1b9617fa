"""Stopping, sharing and precision."""

import ctypes
import errno
import platform
import types

import pytest
import torch

from dpcl_dprnn import training
from dpcl_dprnn.errors import UserError
from dpcl_dprnn.training import (
    AtomicCheckpointer,
    EarlyStopping,
    Shard,
    fastest_precision,
)


def epochs_until_stop(metrics, **options):
    arguments = {
        "limit": 20,
        "limit_to_stop": 3,
        "limit_warmup": 0,
        "direction": "min",
    }
    counter = EarlyStopping(**{**arguments, **options})
    for epoch in counter:
        counter.update_metric(metrics(epoch))
    return epoch


@pytest.mark.parametrize("value", [-10.0, 0.0, 10.0])
@pytest.mark.parametrize("direction", ["min", "max"])
def test_constant_metric_stops(value, direction):
    epochs = epochs_until_stop(lambda _: value, direction=direction)
    assert epochs == 4  # the first is the best, three are no better


@pytest.mark.parametrize("start", [-10.0, 0.005, 10.0])
def test_any_improvement_goes_on(start):
    assert epochs_until_stop(lambda n: start - 1e-3 * n) == 20


@pytest.mark.parametrize("start", [-10.0, 10.0])
def test_worsening_metric_stops(start):
    assert epochs_until_stop(lambda n: start + n) == 4


def test_patience_starts_anew_with_an_improvement():
    metrics = [-1, -2, -1, -1, -3, -1, -1, -1, -9]
    assert epochs_until_stop(lambda n: metrics[n - 1]) == 8


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("items", [0, 1, 4, 7])
def test_shards_cover_everything_once(ranks, items, monkeypatch):
    monkeypatch.setattr(training, "is_distributed_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: ranks)
    dataset = [f"item {n}" for n in range(items)]
    seen, sizes = [], []
    for rank in range(ranks):
        monkeypatch.setattr(training, "get_rank", lambda rank=rank: rank)
        shard = Shard(dataset)
        seen += [shard[index] for index in range(len(shard))]
        sizes.append(len(shard))
    assert sorted(seen) == dataset
    assert max(sizes) - min(sizes) <= 1


def test_shard_of_a_single_process_is_the_dataset():
    assert list(torch.utils.data.DataLoader(Shard(range(5)))) == list(range(5))


def test_gather_of_a_single_process():
    assert training.gather({"a": 1}) == [{"a": 1}]


def test_fastest_precision():
    assert fastest_precision() in {"bf16", "fp32"}


@pytest.mark.parametrize("supported", [True, False])
def test_fastest_precision_of_a_gpu(supported, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: supported
    )
    assert fastest_precision() == ("bf16" if supported else "fp32")


class TestAtomicCheckpointer:
    """A checkpoint shows when it is whole, whatever happens while it saves."""

    @pytest.fixture
    def checkpointer(self, tmp_path):
        layer = torch.nn.Linear(2, 2)
        return AtomicCheckpointer(tmp_path, recoverables={"layer": layer})

    @staticmethod
    def fill_disk(monkeypatch, error):
        def fail(*args, **kwargs):
            raise error

        monkeypatch.setattr(torch, "save", fail)

    def test_saves_and_finds(self, checkpointer, tmp_path):
        saved = checkpointer.save_checkpoint(meta={"loss": 1.0})
        found = checkpointer.find_checkpoint(min_key="loss")
        assert found.path == saved.path
        assert found.paramfiles == saved.paramfiles
        assert [path.name for path in tmp_path.iterdir()] == [saved.path.name]
        assert saved.path.name.startswith("CKPT+")

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.ENOSPC, "No space left on device"),
            RuntimeError("PytorchStreamWriter failed writing file data/0"),
        ],
    )
    def test_full_disk(self, checkpointer, tmp_path, monkeypatch, error):
        good = checkpointer.save_checkpoint(meta={"loss": 1.0})
        before = good.paramfiles["layer"].read_bytes()
        self.fill_disk(monkeypatch, error)
        with pytest.raises(UserError, match="Cannot save a checkpoint in"):
            checkpointer.save_and_keep_only(
                meta={"loss": 0.5}, min_keys=["loss"]
            )
        assert [path.name for path in tmp_path.iterdir()] == [good.path.name]
        assert good.paramfiles["layer"].read_bytes() == before
        assert checkpointer.recover_if_possible().path == good.path

    def test_killed_while_saving(self, checkpointer, tmp_path, monkeypatch):
        good = checkpointer.save_checkpoint()
        with monkeypatch.context() as patch:
            self.fill_disk(patch, KeyboardInterrupt())
            with pytest.raises(KeyboardInterrupt):
                checkpointer.save_checkpoint()
        assert checkpointer.recover_if_possible().path == good.path
        newest = checkpointer.save_checkpoint()
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {good.path.name, newest.path.name}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_glibc_takes_the_options_that_reuse_memory(monkeypatch):
    """mallopt gives 1 for what it takes, 0 for what it does not know."""
    libc, calls = ctypes.CDLL("libc.so.6"), []

    def mallopt(option, value):
        calls.append((option, libc.mallopt(option, value)))

    fake = types.SimpleNamespace(mallopt=mallopt)
    monkeypatch.setattr(training.ctypes, "CDLL", lambda name: fake)
    training.reuse_memory()
    assert calls == [(-3, 1), (-1, 1), (-2, 1)]


def test_reusing_memory_needs_no_glibc(monkeypatch):
    def fail(name):
        raise OSError(name)

    monkeypatch.setattr(training.ctypes, "CDLL", fail)
    training.reuse_memory()
