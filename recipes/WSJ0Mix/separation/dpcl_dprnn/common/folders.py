"""Walking through folders of data."""

import logging
import os

logger = logging.getLogger(__name__)


def pass_over(error):
    """Warn of a folder that cannot be read."""
    logger.warning("%s is passed over: %s", error.filename, error.strerror)


def walk(folder, on_error=pass_over, above=frozenset()):
    """The files at any depth; hidden ones and hidden folders are left out.

    Linked folders are followed, with no end where a link leads back up.

    Arguments
    ---------
    folder : str or Path
        Where to begin.
    on_error : callable
        Gets the `OSError` of each folder that cannot be read.
    above : frozenset
        The folders on the way here, by device and inode.

    Yields
    ------
    str
        The path of a file, in the system's order.
    """
    try:
        stat = os.stat(folder)
        if (stat.st_dev, stat.st_ino) in above:
            return
        with os.scandir(folder) as entries:
            entries = list(entries)
    except OSError as error:
        error.filename = folder
        on_error(error)
        return
    above = above | {(stat.st_dev, stat.st_ino)}
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if _is_folder(entry):
            yield from walk(entry.path, on_error, above)
        else:
            yield entry.path


def _is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
