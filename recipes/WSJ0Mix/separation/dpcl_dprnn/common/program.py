"""The frame of the programs: errors in one line, exit statuses, signals."""

import argparse
import contextlib
import os
import signal
import sys

from .errors import Stopped, UserError, writing_error


def run_program(name, function, *args, sigterm=True):
    """Call what a program does, and tell its errors in one line each, which
    begins with its name.

    With `sigterm`, SIGTERM is a `SystemExit` of 143 meanwhile.

    Returns
    -------
    int
        The exit status: that of the function, or 0; 1 after an error of the
        user's or of the system, or where nobody reads standard output any
        more; 130 after Ctrl-C; 143 where training was stopped by SIGTERM.

    Example
    -------
    >>> run_program("x.py", lambda: print("done"))
    done
    0
    """
    line, status = "", 1
    try:
        with exit_on_sigterm() if sigterm else contextlib.nullcontext():
            returned = function(*args)
            flush_output()
            return returned or 0
    except KeyboardInterrupt:
        line, status = "interrupted", 130
    except Stopped as error:
        return _stopped(name, error)
    except BrokenPipeError:  # who read standard output has gone
        pass
    except (UserError, OSError) as error:
        if _is_told_here(error):
            line = f"error: {_one_line(error)}"
    except RuntimeError as error:
        from .distributed import lost_process  # with PyTorch, that takes time

        line = lost_process(error)
        if line is None:
            raise
        line = f"error: {line}"
    if line:
        print(f"{name}: {line}", file=sys.stderr)
    with contextlib.suppress(UserError, OSError):
        flush_output()
    return status


def _one_line(error):
    """What an error says; of an `OSError` the file and the reason."""
    if getattr(error, "strerror", None):
        where = "" if error.filename is None else f"{error.filename}: "
        return where + error.strerror
    # One of a loader's worker has its traceback before, and its class's name.
    *before, last = str(error).strip().splitlines() or [repr(error)]
    return last.partition(": ")[2] or last if before else last


def _is_told_here(error):
    """Whether no other process tells the same."""
    if not getattr(error, "everywhere", False):
        return True
    from .distributed import place  # PyTorch, which such a run has

    return place()[0] == 0


def _stopped(name, error):
    """Say that training was stopped, and leave the other processes."""
    from .distributed import leave_group, place

    rank, ranks = place()
    if rank == 0:
        print(
            f"{name}: stopped by SIGTERM. {error} The same command goes on "
            "from there.",
            file=sys.stderr,
            flush=True,
        )
    if ranks > 1 and not error.together:
        os._exit(143)  # nobody waits for this process, nor it for them
    leave_group()
    return 143


@contextlib.contextmanager
def sigterm_calls(handler):
    """Call a function of `signal.signal` at SIGTERM within the block."""
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_on_sigterm():
    """Make SIGTERM an exception within the block, so that what is half
    written is removed.

    Not for training: a process that waits for others could not be ended.
    """
    return sigterm_calls(lambda *_: sys.exit(143))


def flush_output():
    """Write what standard output still holds, if there is one.

    A `UserError` where it cannot be written, and a `BrokenPipeError` where
    nobody reads it any more.
    """
    try:
        if sys.stdout is not None:  # closed
            sys.stdout.flush()
    except OSError as error:
        # Python would try again at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise writing_error("standard output", error) from error


def positive(text, kind=float):
    """A number above 0, for argparse.

    Example
    -------
    >>> positive("2.5"), positive("3", int)
    (2.5, 3)
    """
    with contextlib.suppress(ValueError):
        if 0 < (number := kind(text)) < float("inf"):
            return number
    raise argparse.ArgumentTypeError(f"{text} is not a number above 0")


def not_negative(text):
    """A whole number of 0 or more, for argparse."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number
