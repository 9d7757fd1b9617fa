"""What the programs have in common."""

import contextlib
import signal
import sys


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
