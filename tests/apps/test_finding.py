"""What there is to separate: found, and kept apart from voices."""

import errno
import io
import os
import pathlib
import types

import pytest

from dpcl_dprnn.apps import finding
from dpcl_dprnn.apps.finding import find_jobs, plain_error
from dpcl_dprnn.common.errors import UserError


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def find(*inputs, output="-", scratch=None):
    """The recordings that are found, and what is said of the others."""
    found = list(find_jobs(list(map(str, inputs)), str(output), scratch))
    others = {
        job.shown: str(job.error or job.passed_over)
        for job in found
        if not job.path
    }
    assert not any("\n" in why for why in others.values())
    return [job for job in found if job.path], others


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied"),
        RuntimeError("Symlink loop from 'x'"),
    ],
)
def test_a_file_behind_a_lock_is_one_error(error, tmp_path, monkeypatch):
    touch(tmp_path, "a.wav", "locked.wav", "b.wav")
    is_dir = pathlib.Path.is_dir

    def locked(path):
        if path.stem == "locked":
            raise error
        return is_dir(path)

    monkeypatch.setattr(pathlib.Path, "is_dir", locked)
    names = ("a.wav", "locked.wav", "b.wav")
    done, others = find(*(tmp_path / name for name in names))
    assert [job.name for job in done] == ["a", "b"]
    (why,) = others.values()
    assert str(tmp_path / "locked.wav") in why
    assert error.args[-1] in why


def test_names_that_cannot_be_looked_at_are_one_error_each(tmp_path):
    touch(tmp_path, "in/a.wav", "b.wav")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    long = tmp_path / ("x" * 300)
    inputs = (long, tmp_path / "in", loop, tmp_path / "b.wav")
    done, others = find(*inputs, output=tmp_path / "out")
    assert [job.name for job in done] == ["a", "b"]
    assert list(others) == [str(long), str(loop)]
    assert "File name too long" in others[str(long)]


def test_a_folder_that_is_locked_is_counted(tmp_path, monkeypatch):
    touch(tmp_path, "a.wav", "locked/b.wav")
    scandir = os.scandir

    def locked(folder):
        if str(folder).endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", locked)
    done, others = find(tmp_path)
    assert [job.name for job in done] == ["a"]
    assert list(others) == [str(tmp_path / "locked")]
    assert "Permission denied" in others[str(tmp_path / "locked")]
    done, others = find(tmp_path / "locked")
    assert not done and len(others) == 1


@pytest.mark.parametrize(
    "output, expected",
    [
        # Inside the input: what is there is no input.
        ("in/out", ["a", "a_s1", "a_s2", "b", "b_s10", "c_s1"]),
        # The same or above: only what has a recording beside it is a voice.
        ("in", ["a", "b", "c_s1", "d"]),
        (".", ["a", "b", "c_s1", "d"]),
        # Elsewhere, or nowhere.
        ("elsewhere", ["a", "a_s1", "a_s2", "b", "b_s10", "c_s1", "d"]),
        ("-", ["a", "a_s1", "a_s2", "b", "b_s10", "c_s1", "d"]),
    ],
)
def test_voices_of_an_earlier_run(output, expected, tmp_path):
    folder = touch(
        tmp_path / "in",
        *("a.wav", "a_s1.wav", "a_s2.flac", "c_s1.wav", "c.txt"),
        *("deep/b.mp3", "deep/b_s10.wav", "out/d.wav"),
    )
    where = output if output == "-" else tmp_path / output
    done, others = find(folder, output=where)
    assert sorted(job.name for job in done) == expected
    (passed_over,) = others.values()
    assert "c.txt" in passed_over


def test_standard_input_is_copied_once(tmp_path, monkeypatch):
    stdin = types.SimpleNamespace(buffer=io.BytesIO(b"sound"))
    monkeypatch.setattr(finding.sys, "stdin", stdin)
    (job,), others = find("-", "-", scratch=tmp_path)
    assert job.path.read_bytes() == b"sound"
    assert "given twice" in others["standard input"]


def test_standard_input_that_is_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(finding.sys, "stdin", None)
    done, others = find("-", scratch=tmp_path)
    assert not done and "is closed" in others["standard input"]


def test_standard_input_that_cannot_be_copied(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(finding.shutil, "copyfileobj", full)
    done, others = find("-", scratch=tmp_path)
    assert not done and "No space left" in others["standard input"]


@pytest.mark.parametrize(
    "error, message",
    [
        (UserError("As it is."), "As it is."),
        (MemoryError(), "a.wav: not enough memory: MemoryError()"),
        (RuntimeError("DefaultCPUAllocator: can't allocate"), "not enough mem"),
        (RuntimeError("an illegal memory access"), "a.wav cannot be separated"),
        (RuntimeError("two\nlines"), "a.wav cannot be separated: two."),
        (OSError(errno.EIO, "I/O error"), "Cannot read a.wav: I/O error."),
    ],
)
def test_errors_are_one_line(error, message):
    said = str(plain_error("a.wav", error))
    assert message in said and "\n" not in said
