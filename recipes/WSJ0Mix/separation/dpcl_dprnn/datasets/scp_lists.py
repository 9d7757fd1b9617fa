"""Lists of sound files as Kaldi writes them: `name path` on each line."""

import pathlib
import typing

from ..common.audio import SOUND_SUFFIXES
from ..common.errors import UserError


class Entry(typing.NamedTuple):
    """What a line of a list says."""

    path: pathlib.Path
    line: int  # from 1


def scp_rows(mixture, sources):
    """List the mixtures of a split with their sources.

    Arguments
    ---------
    mixture : pathlib.Path
        The list of the mixtures.
    sources : list of pathlib.Path
        The list of each source.

    Returns
    -------
    dict
        `{ID: [mixture, source 1, source 2, ...]}`, sorted.

    Raises
    ------
    UserError
        When a list cannot be read, or not all have the same names.
    """
    mixtures = read_scp(mixture)
    rows = {name: [mixtures[name].path] for name in sorted(mixtures)}
    for source in sources:
        entries = read_scp(source)
        for name, entry in mixtures.items():
            if name not in entries:
                raise UserError(
                    f"{source} has no {name}, but {mixture.name}, line "
                    f"{entry.line}, has. Give both lists the same names."
                )
        for name, entry in entries.items():
            if name not in rows:
                raise UserError(
                    f"{source}, line {entry.line}, has {name}, but "
                    f"{mixture.name} has not. Give both lists the same names."
                )
            rows[name].append(entry.path)
    return rows


def read_scp(path):
    """Read a list.

    Arguments
    ---------
    path : pathlib.Path
        The list. A path in it may hold spaces, and is relative to the
        folder of the list if it is not absolute.

    Returns
    -------
    dict
        `{name: Entry}`, in the order of the list. A name that ends like a
        sound file is given without that ending.

    Raises
    ------
    UserError
        When the list cannot be read or is empty, or a line is not
        `name path`, has a name for the second time or names no file.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(
            f"Cannot read {path}: {error.strerror}. Add the list."
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}.") from error
    entries = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, file = _parse(line, f"{path}, line {number}")
        if name in entries:
            raise UserError(
                f"{path}, line {number}, has {name} again, after line "
                f"{entries[name].line}. Remove one of them."
            )
        file = path.parent / file
        if not file.is_file():
            raise UserError(
                f"{path}, line {number}: there is no file {file}. Correct the "
                "path or copy the file there."
            )
        entries[name] = Entry(file, number)
    if not entries:
        raise UserError(f"{path} lists no files. Write it again.")
    return entries


def _parse(line, where):
    """The name and the path on a line."""
    name, _, file = line.strip().partition(" ")
    if "\t" in name:  # as good a separator
        name, _, file = line.strip().partition("\t")
    file = file.strip()
    if not file:
        raise UserError(f"{where}, is not 'name path'. Correct it.")
    if file.endswith("|"):
        raise UserError(
            f"{where}, names a command. Write what it puts out to a file and "
            "name that."
        )
    suffix = pathlib.PurePath(name).suffix
    if suffix.lower() in SOUND_SUFFIXES:
        name = name.removesuffix(suffix)
    return name, file
