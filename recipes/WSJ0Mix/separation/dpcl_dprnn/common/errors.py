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
    """

    everywhere = False  # on all processes of a run alike: the first tells it


@contextlib.contextmanager
def told_once():
    """Where all processes of a run meet the same errors."""
    try:
        yield
    except UserError as error:
        error.everywhere = True
        raise


class Stopped(Exception):
    """Training was asked to stop, and can go on later from what it has saved.

    Arguments
    ---------
    message : str
    together : bool
        Whether all processes stop at the same point.
    """

    def __init__(self, message, together=True):
        super().__init__(message)
        self.together = together


def lost_process(error):
    """One line on a process, or memory, that is gone; None of other errors.

    Arguments
    ---------
    error : RuntimeError
        As PyTorch raises it where a worker of a loader dies, and in a process
        of a distributed run where another one does.

    Returns
    -------
    str or None

    Example
    -------
    >>> lost_process(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "))
    'A worker that loads data has died (DataLoader worker (pid 7) is killed by signal: Killed). If memory ran out, lower --num_workers or --batch_size; the same command goes on from the last checkpoint.'
    """
    line = first_line(error).rstrip(". ")
    if type(error).__name__ == "OutOfMemoryError":  # PyTorch's
        return f"The GPU's memory is full ({line}). Lower --batch_size."
    if "DataLoader worker" in line:
        return (
            f"A worker that loads data has died ({line}). If memory ran out, "
            "lower --num_workers or --batch_size; the same command goes on "
            "from the last checkpoint."
        )
    text = str(error).lower()
    if any(word in text for word in ("gloo", "nccl", "by peer", "tcpstore")):
        return (
            f"Another process of this run has ended ({line[:200]}). Its own "
            "message says why; the same command goes on from the last "
            "checkpoint."
        )
    return None


def first_line(error):
    """The first line of an exception's message, or what else it says."""
    return (str(error).strip() or repr(error)).splitlines()[0]


def writing_error(path, error):
    """Say what could not be written, why, and what to do about it.

    Arguments
    ---------
    path : str or Path
        The file or folder.
    error : OSError

    Returns
    -------
    UserError

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
