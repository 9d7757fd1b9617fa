"""Errors that are meant for the user rather than the developer."""


class UserError(Exception):
    """Something the user can mend: bad data, a bad option, a full disk.

    The message is one line that says what is wrong, in which file or key,
    and what to do. The command-line programs print it without a traceback
    and exit with status 1.
    """


def first_line(error):
    """The first line of an exception's message, or what else it says."""
    return (str(error).strip() or repr(error)).splitlines()[0]
