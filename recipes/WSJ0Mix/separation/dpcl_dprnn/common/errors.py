"""Errors that are meant for the user rather than the developer."""

import contextlib
import errno

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
IN_THE_WAY = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


class UserError(Exception):
    """Something the user can mend: bad data, a bad option, a full disk.

    The message is one line that says what is wrong, in which file or key,
    and what to do. The command-line programs print it without a traceback
    and exit with status 1.

    Arguments
    ---------
    message : str
    everywhere : bool
        Whether all processes of a run have it alike: the first one tells it.
    """

    def __init__(self, message, everywhere=False):
        super().__init__(message)
        self.everywhere = everywhere


@contextlib.contextmanager
def told_once():
    """Where all processes of a run meet the same errors."""
    try:
        yield
    except UserError as error:
        error.everywhere = True
        raise


class Stopped(Exception):
    """Training was asked to stop, and can go on later from what it has saved;
    `together` is whether all processes stop at the same point.
    """

    def __init__(self, message, together=True):
        super().__init__(message)
        self.together = together


def first_line(error):
    """The first line of an exception's message, or what else it says."""
    return (str(error).strip() or repr(error)).splitlines()[0]


def writing_error(path, error):
    """The `UserError` that says what file or folder could not be written, why
    (an `OSError`), and what to do about it.

    Example
    -------
    >>> error = OSError(errno.ENOSPC, "No space left on device")
    >>> print(writing_error("data", error))
    Cannot write data: No space left on device. Free some space or choose another folder.
    """
    if error.errno in FULL:
        advice = "Free some space or choose another folder."
    elif error.errno in FORBIDDEN:
        advice = "Choose a folder that you may write in."
    elif error.errno in IN_THE_WAY:
        advice = "Something else is in its way: choose another folder."
    else:
        advice = "Check the disk or choose another folder."
    why = error.strerror or str(error).rstrip(".")
    return UserError(f"Cannot write {path}: {why}. {advice}")


def few(names, most=3):
    """The first of many names, for a message.

    Example
    -------
    >>> few(["a", "b", "c", "d"])
    'a, b, c, ...'
    """
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
