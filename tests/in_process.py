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


def one_line(stderr, start="train.py: error: "):
    """The line that is all there is on stderr, but for progress bars."""
    lines = stderr.replace("\r", "\n").split("\n")
    assert "Traceback" not in stderr
    (line,) = [x for x in lines if "error" in x.lower() or "train.py: " in x]
    assert line.startswith(start), stderr
    assert [x for x in lines if x.strip()][-1] == line
    return line


def ends(capsys, status, function, *words, start="train.py: ", **options):
    """Call what ends the process with a status, and give the line it says."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        function(*words, **options)
    assert caught.value.code == status
    said = capsys.readouterr()
    assert "Traceback" not in said.out
    return one_line(said.err, start)
