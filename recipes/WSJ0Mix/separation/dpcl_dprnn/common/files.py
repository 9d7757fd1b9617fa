"""Files that are written whole or not at all, and walks through folders."""

import contextlib
import logging
import os
import pathlib
import tempfile

from .errors import writing_error

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def atomic_path(path):
    """Give a temporary path that becomes `path` only if the block succeeds.

    A reader therefore sees the old file or the whole new one, never a part.
    Missing parent folders are made. The temporary path has the same folder and
    suffix, and a hidden name. What cannot be written is a `UserError`, see
    `errors.writing_error`.
    """
    path = pathlib.Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=".", suffix=path.suffix
        )
        os.close(handle)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        yield pathlib.Path(temporary)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise writing_error(path, error) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def write_text(path, text):
    """Write a text file whole or not at all (see `atomic_path`)."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def pass_over(error):
    """Warn of a folder that cannot be read."""
    logger.warning("%s is passed over: %s", error.filename, error.strerror)


def walk(folder, on_error=pass_over, above=frozenset()):
    """The files at any depth; hidden ones and hidden folders are left out.

    Linked folders are followed, unless a link leads back up. Yields paths, str,
    in the system's order.

    Arguments
    ---------
    folder : str or Path
        Where to begin.
    on_error : callable
        Gets the `OSError` of each folder that cannot be read.
    above : frozenset
        The folders on the way here, by device and inode.
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
