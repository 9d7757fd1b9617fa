"""Runs Python programs in processes of their own."""

import os
import subprocess
import sys


def program(*words, status=0, env=None, **options):
    """Run one to its end, which has to have that exit status."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        **options,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done
