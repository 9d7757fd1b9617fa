"""What the user is told."""

import contextlib

import pytest

from dpcl_dprnn.common.errors import UserError


@contextlib.contextmanager
def refused(match="", *words):
    """See a `UserError` of one line, that matches and has those words."""
    with pytest.raises(UserError, match=match or None) as caught:
        yield caught
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []
