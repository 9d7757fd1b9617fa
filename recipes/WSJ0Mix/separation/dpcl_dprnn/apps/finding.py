"""What separate.py has to do: recordings found, and told from voices."""

import pathlib
import re
import shutil
import sys
import typing

from ..common.errors import UserError, first_line
from ..common.files import walk
from ..inference.loading import EXAMPLE
from ..sound.opening import FFMPEG_SUFFIXES, SNDFILE_SUFFIXES
from .voice_files import VOICES

SUFFIXES = SNDFILE_SUFFIXES | FFMPEG_SUFFIXES | {".sph", ".wv1"}
BESIDE = (".html", ".rttm")  # what this program writes beside voices
NO_MEMORY = re.compile("(?i)out of memory|not enough memory|alloc")
STDIN = "standard input"
CHANNEL = re.compile(r"_channel\d+$")  # at the end of a recording's name


class Job(typing.NamedTuple):
    """A recording, or a channel of it, and where its voices go; or why there
    are none.
    """

    shown: str  # what the user calls it
    path: pathlib.Path | None = None  # what to read
    folder: pathlib.Path | None = None  # to write in; None: standard output
    name: str = ""  # what files are named by
    error: UserError | None = None
    passed_over: tuple = ()  # files of the folder `shown` that are no sound
    channel: int | str = "mean"  # of several


def find_jobs(inputs, output, scratch):
    """The recordings that the command line names, in order.

    Arguments
    ---------
    inputs : list of str
        Files, folders, - and "example", a recording that comes along.
    output : str
        A folder or -.
    scratch : Path
        A folder for standard input.

    Yields
    ------
    Job
        With an error for what is not there or cannot be read.
    """
    target = None if output == "-" else pathlib.Path(output)
    for each in inputs:
        shown = STDIN if each == "-" else each
        path = pathlib.Path(each)
        try:
            if each == "-":
                yield Job(shown, _copy_input(scratch), target, "stdin")
            elif path.is_dir():
                yield from _in_folder(path, target)
            elif path.exists():
                yield Job(shown, path, target, path.stem)
            elif each == EXAMPLE.stem:
                yield Job(shown, EXAMPLE, target, EXAMPLE.stem)
            else:
                raise UserError(f"{each} does not exist.")
        except (UserError, OSError, RuntimeError) as error:
            # RuntimeError: links in a circle
            yield Job(shown, error=plain_error(shown, error))


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
            f"Cannot copy standard input to {scratch}: {_reason(error)}. Free "
            "some space, or set TMPDIR to another folder."
        ) from error
    return path


def _in_folder(folder, target):
    """The recordings at any depth of a folder, but not voices made of them."""
    locked = []
    names = sorted(walk(folder, on_error=locked.append))
    for error in locked:
        name = str(error.filename)
        yield Job(name, error=plain_error(name, error))
    every = [pathlib.Path(name) for name in names]
    paths = [path for path in every if path.suffix.lower() in SUFFIXES]
    voices = _voices_of_before(folder, paths, target)
    stems = {CHANNEL.sub("", str(path.with_suffix(""))) for path in paths}
    for path in paths:
        if path not in voices:
            below = path.relative_to(folder).parent
            yield Job(str(path), path, target and target / below, path.stem)
    others = tuple(
        path
        for path in every
        if path.suffix.lower() not in SUFFIXES
        and not _is_own(path, folder, target, stems)
    )
    if others:
        yield Job(str(folder), passed_over=others)
    if len(paths) == len(voices) and not locked:
        raise UserError(f"{folder} has no sound files.")


def _is_own(path, folder, target, stems):
    """Whether a file that is no sound is one that this program wrote."""
    if target and folder.resolve() in target.resolve().parents:
        return target.resolve() in path.resolve().parents
    stem = CHANNEL.sub("", str(path.with_suffix("")))
    return path.suffix in BESIDE and stem in stems


def _voices_of_before(folder, paths, target):
    """Which sound files of a folder are voices of an earlier run.

    Where the output is a folder inside the input's, its files are voices.
    Where it is the same folder or one above, recordings are in it too: then
    NAME_s1.wav is a voice if there is a recording NAME beside it.
    """
    if target is None:
        return set()
    inside, whole = target.resolve(), folder.resolve()
    if whole in inside.parents:
        target = folder / inside.relative_to(whole)
        return {path for path in paths if target in path.parents}
    if whole != inside and inside not in whole.parents:
        return set()
    stems = {path.with_suffix("") for path in paths}
    matches = [(path, VOICES.fullmatch(path.name)) for path in paths]
    return {
        path
        for path, m in matches
        if m
        and {path.parent / m[1], path.parent / CHANNEL.sub("", m[1])} & stems
    }


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
            f"Cannot read {what}: {_reason(error)}. Check its name, its "
            "permissions and the disk."
        )
    why = first_line(error).rstrip(".")
    if isinstance(error, MemoryError) or NO_MEMORY.search(why):
        return UserError(
            f"{what}: not enough memory: {why}. Close other programs, or "
            "choose another device."
        )
    return UserError(f"{what} cannot be separated: {why}.")


def _reason(error):
    """What an `OSError` says, without the file."""
    return error.strerror or str(error).rstrip(".")
