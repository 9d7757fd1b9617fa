"""What separate.py has to do: recordings, and where their voices go."""

import itertools
import pathlib
import re
import shutil
import sys
import typing

from ..common.errors import UserError, first_line
from ..common.files import walk

SUFFIXES = frozenset(
    ".aif .aiff .au .flac .mp3 .oga .ogg .opus .rf64 .w64 .wav".split()
)
VOICE = re.compile(r"(.+)_s[1-9]\d*\.(?:wav|flac)")  # see voice_files
NO_MEMORY = re.compile("(?i)out of memory|not enough memory|alloc")
LOOK_AHEAD = 16  # batches in which to look for recordings of like lengths


class Job(typing.NamedTuple):
    """A recording, and where its voices go."""

    path: pathlib.Path  # what to read
    shown: str  # what the user calls it
    folder: pathlib.Path | None  # where to write; None: standard output
    name: str  # what files are named by


def find_jobs(inputs, output, scratch):
    """The recordings that the command line names, in order.

    Arguments
    ---------
    inputs : list of str
        Files, folders and -.
    output : str
        A folder or -.
    scratch : Path
        A folder for standard input.

    Yields
    ------
    Job or (str, UserError)
        The error for what is not there or cannot be read.
    """
    target = None if output == "-" else pathlib.Path(output)
    for each in inputs:
        path = pathlib.Path(each)
        try:
            if each == "-":
                path = _copy_input(scratch)
                yield Job(path, "standard input", target, "stdin")
            elif path.is_dir():
                yield from _in_folder(path, target)
            elif path.exists():
                yield Job(path, each, target, path.stem)
            else:
                raise UserError(f"{each} does not exist.")
        except UserError as error:
            yield "standard input" if each == "-" else each, error
        except (OSError, RuntimeError) as error:  # links in a circle: Runtime
            yield each, plain_error(each, error)


def _copy_input(scratch):
    path = scratch / "stdin"
    if path.exists():
        raise UserError("- is given twice, but there is one standard input.")
    if sys.stdin is None:
        raise UserError("Standard input is closed: there is nothing to read.")
    try:
        with open(path, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        raise UserError(
            f"Cannot copy standard input to {scratch}: {reason(error)}. Free "
            "some space, or set TMPDIR to another folder."
        ) from error
    return path


def _in_folder(folder, target):
    """The recordings at any depth of a folder, but not voices made of them."""
    locked = []
    names = sorted(walk(folder, on_error=locked.append))
    for error in locked:
        yield str(error.filename), plain_error(error.filename, error)
    is_voice = _voices_of_before(folder, names, target)
    found = False
    for name in names:
        path = pathlib.Path(name)
        if path.suffix.lower() not in SUFFIXES:
            continue
        try:
            if is_voice(path):
                continue
        except (OSError, RuntimeError) as error:
            yield name, plain_error(name, error)
            continue
        found = True
        below = path.relative_to(folder).parent
        yield Job(path, name, target and target / below, path.stem)
    if not found and not locked:
        yield str(folder), UserError(f"{folder} has no sound files.")


def _voices_of_before(folder, names, target):
    """What tells the voices of an earlier run from recordings.

    Where the output is a folder inside the input's, its files are voices.
    Where it is the same folder or one above, recordings are in it too: then
    NAME_s1.wav is a voice if there is a recording NAME beside it.
    """
    if target is None:
        return lambda path: False
    inside, whole = target.resolve(), folder.resolve()
    if whole in inside.parents:
        return lambda path: inside in path.resolve().parents
    if whole != inside and inside not in whole.parents:
        return lambda path: False
    paths = map(pathlib.Path, names)
    stems = {p.with_suffix("") for p in paths if p.suffix.lower() in SUFFIXES}

    def is_voice(path):
        match = VOICE.fullmatch(path.name)
        return bool(match) and path.parent / match[1] in stems

    return is_voice


def in_batches(opened, size, longest):
    """Put short recordings of like lengths together, and long ones alone.

    Arguments
    ---------
    opened : iterable of (Job, recordings.FileRecording)
    size : int
        The most recordings in a batch. With 1 the order is kept.
    longest : float
        Seconds, up to which a recording is short.

    Yields
    ------
    list of (Job, recordings.FileRecording)
    """
    opened = iter(opened)

    def seconds(pair):
        return pair[1].frames / pair[1].rate

    ahead = size * LOOK_AHEAD if size > 1 else 1
    while pairs := list(itertools.islice(opened, ahead)):
        pairs.sort(key=seconds)
        short = [pair for pair in pairs if seconds(pair) <= longest]
        for start in range(0, len(short), size):
            yield short[start : start + size]
        for pair in pairs[len(short) :]:
            yield [pair]


def plain_error(what, error):
    """Say in one line why a recording cannot be separated.

    Arguments
    ---------
    what : str or Path
        Its name, or that of a folder.
    error : Exception

    Returns
    -------
    UserError

    Example
    -------
    >>> print(plain_error("a.wav", RuntimeError("CUDA out of memory.")))
    a.wav: not enough memory: CUDA out of memory. Close other programs, or choose another device.
    """
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError):
        return UserError(
            f"Cannot read {what}: {reason(error)}. Check its name, its "
            "permissions and the disk."
        )
    why = first_line(error).rstrip(".")
    if isinstance(error, MemoryError) or NO_MEMORY.search(why):
        return UserError(
            f"{what}: not enough memory: {why}. Close other programs, or "
            "choose another device."
        )
    return UserError(f"{what} cannot be separated: {why}.")


def reason(error):
    """What an `OSError` says, without the file."""
    return error.strerror or str(error).rstrip(".")
