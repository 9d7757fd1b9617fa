"""Runs train.py in the process of the tests, which is faster by its imports."""

import logging
import os
import sys

import pytest
import speechbrain as sb


def in_process(function, *words):
    """Call a function of train.py, and undo what it does to the process."""
    root, environment = logging.getLogger(), dict(os.environ)
    handlers, level, hook = root.handlers[:], root.level, sys.excepthook
    with pytest.MonkeyPatch.context() as patch:
        # Its pip takes longer than a tiny run.
        patch.setattr(sb.utils.logger, "get_environment_description", str)
        try:
            function(list(words))
        finally:
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.handlers[:] = handlers
            root.setLevel(level)
            sys.excepthook = hook
            os.environ.clear()
            os.environ.update(environment)
