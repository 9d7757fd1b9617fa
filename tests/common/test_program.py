"""The frame of the programs."""

import argparse
import errno
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from ranks import endings

from dpcl_dprnn.common.errors import Stopped, UserError
from dpcl_dprnn.common.program import positive, run_program

ROOT = pathlib.Path(sys.modules["dpcl_dprnn"].__file__).parents[1]


def fail(error):
    raise error


@pytest.mark.parametrize("status", [None, 0, 1, 7])
def test_the_status_is_that_of_the_function(status, capsys):
    assert run_program("x.py", lambda given: given, status) == (status or 0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "error, said",
    [
        (UserError("No a: give one."), "error: No a: give one."),
        (OSError(5, "Input/output error", "a.wav"), "error: a.wav: Input/outp"),
        (
            OSError(12, "Cannot allocate memory"),
            "error: Cannot allocate memory",
        ),
        (OSError("odd"), "error: odd"),
        (OSError(), "error: OSError()"),
        # As a worker of a loader hands it on.
        (UserError("Traceback:\n ...\na.b.UserError: x: y"), "error: x: y\n"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed"),
            "error: A worker ",
        ),
    ],
)
def test_an_error_is_one_line(error, said, capsys):
    assert run_program("x.py", fail, error) == 1
    text = capsys.readouterr().err
    assert text.startswith(f"x.py: {said}")
    assert text.count("\n") == 1 and "None" not in text


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyError("a bug")])
def test_a_bug_keeps_its_traceback(error):
    with pytest.raises(type(error), match="a bug"):
        run_program("x.py", fail, error)


@pytest.mark.parametrize(
    "error, status, said",
    [
        (KeyboardInterrupt(), 130, "x.py: interrupted\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, ""),
        (
            Stopped("Saved."),
            143,
            "x.py: stopped by SIGTERM. Saved. The same command goes on from "
            "there.\n",
        ),
    ],
)
def test_other_ends(error, status, said, capsys):
    assert run_program("x.py", fail, error) == status
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("sigterm", [True, False])
def test_sigterm_is_an_exception_unless_it_is_answered_otherwise(sigterm):
    """What is half written is removed; and the handler is put back."""
    answered, tidied = [], []
    before = signal.signal(signal.SIGTERM, lambda *_: answered.append(True))

    def terminated():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            tidied.append(True)

    try:
        if sigterm:
            with pytest.raises(SystemExit) as caught:
                run_program("x.py", terminated)
            assert caught.value.code == 128 + signal.SIGTERM
        else:
            assert run_program("x.py", terminated, sigterm=False) == 0
        assert tidied and bool(answered) != sigterm
    finally:
        own = signal.signal(signal.SIGTERM, before)
    assert own.__name__ == "<lambda>" and not own([]) and answered


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
@pytest.mark.parametrize(
    "end, said",
    [
        (">/dev/full", "x.py: error: Cannot write standard output: No space "),
        (">&-", ""),
        ("| true", ""),
    ],
)
def test_standard_output_that_cannot_be_written(end, said):
    code = (
        "import sys, time\n"
        "from dpcl_dprnn.common.program import run_program\n"
        "time.sleep(0.2)\n"
        "sys.exit(run_program('x.py', lambda: print('done')))\n"
    )
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {end}; exit ${{PIPESTATUS[0]}}']
        + [sys.executable, code],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == (0 if end == ">&-" else 1)
    assert done.stderr.startswith(said) and bool(done.stderr) == bool(said)
    assert done.stderr.count("\n") <= 1


def met_by_all():
    error = UserError("the same everywhere")
    error.everywhere = True
    sys.exit(run_program("x.py", fail, error))


def met_by_one():
    sys.exit(run_program("x.py", fail, UserError("of one")))


@pytest.mark.parametrize("function, told", [(met_by_all, 1), (met_by_one, 2)])
def test_what_all_processes_meet_is_told_once(function, told, tmp_path):
    ends = endings(function, tmp_path, group=True)
    assert [status for status, _ in ends] == [1, 1]
    said = [said for _, said in ends]
    assert sum("x.py: error: " in each for each in said) == told
    assert "x.py: error: " in said[0]


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x", ""])
def test_numbers_that_are_not_positive(text):
    with pytest.raises(argparse.ArgumentTypeError, match="above 0"):
        positive(text)
