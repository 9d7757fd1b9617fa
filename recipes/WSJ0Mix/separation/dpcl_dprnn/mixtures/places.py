"""Where the mixtures of a split go, and whether they are there.

They are written into a hidden folder beside their place, which gets its name
when it is whole. What it is made of is recorded in it.
"""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import shutil

from ..common.errors import UserError
from ..common.files import write_text

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a split goes, at one rate and in one mode."""

    target: pathlib.Path
    rate: int
    mode: str
    split: str
    mixtures: dict  # {name: [rendering.Source, ...]}
    record: dict  # what it is made of

    @property
    def folder(self):
        """The folder when all is done."""
        above = self.target / f"wav{self.rate / 1000:g}k" / self.mode
        return above / self.split

    @property
    def partial(self):
        """The folder until then."""
        return unfinished(self.folder)

    @property
    def begun(self):
        """The folder that has what is there by now, if any."""
        return self.folder if self.folder.exists() else self.partial

    def is_whole(self):
        """Whether all of it is there; refuse what was made otherwise."""
        if not self.folder.exists():
            return False
        if _read_record(self.folder) != self.record:
            raise already_there(self.folder)
        wanted = {}
        for name, sources in self.mixtures.items():
            for kind in kinds_of(sources):
                wanted.setdefault(kind, set()).add(f"{name}.wav")
        return all(
            names <= _full_files(self.folder / kind)
            for kind, names in wanted.items()
        )

    def start(self):
        """Make the folder for the work, or continue with what is there."""
        if self.folder.exists():
            logger.warning("%s lacks files: they are made again.", self.folder)
            shutil.rmtree(self.partial, ignore_errors=True)
            self.folder.rename(self.partial)
        elif (
            self.partial.exists() and _read_record(self.partial) != self.record
        ):
            logger.info("%s was left by another run: removed.", self.partial)
            shutil.rmtree(self.partial)
        write_text(self.partial / "mixtures.json", _format(self.record))

    def finish(self):
        """Show the folder, without what killed runs may have left in it."""
        for pattern in (".*", "*/.*"):
            for leftover in self.partial.glob(pattern):
                leftover.unlink()
        self.partial.rename(self.folder)


def list_places(target, split, mixtures, headers, rates, modes):
    """Say where a split goes and what it is made of.

    Arguments
    ---------
    target : pathlib.Path
        The data set's folder.
    split : str
        As `tr`.
    mixtures : dict
        `{name: [rendering.Source, ...]}`.
    headers : dict
        Of `headers.read_headers`.
    rates : iterable of int
        Sampling rates, in Hz.
    modes : iterable of str
        Of `min` and `max`.

    Yields
    ------
    Place
        One for each rate and mode.
    """
    digest = hashlib.sha256()
    for name, sources in mixtures.items():
        digest.update(f"{name}\n".encode())
        for name, file, gain, level in sources:
            held = headers[file].digest
            digest.update(f"{name} {held} {gain!r} {level!r}\n".encode())
    for rate in rates:
        for mode in modes:
            record = {
                "split": split,
                "rate": rate,
                "mode": mode,
                "mixtures": len(mixtures),
                "sha256": digest.hexdigest(),
            }
            yield Place(target, rate, mode, split, mixtures, record)


def unfinished(folder):
    """Where a split is made that will show as `folder`."""
    return folder.with_name(f".{folder.name}-unfinished")


def kinds_of(sources):
    """The folders that a mixture has files in: s1, s2, ..., mix."""
    return [f"s{n}" for n in range(1, len(sources) + 1)] + ["mix"]


def already_there(path):
    """The error for what was made otherwise than it would be now.

    Returns
    -------
    UserError
    """
    return UserError(
        f"{path} is already there, with other options or speech. Remove it or "
        "choose another --out."
    )


def _full_files(folder):
    """The names of the files in a folder that are not empty."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.stat().st_size}
    except FileNotFoundError:
        return set()


def _format(record):
    return json.dumps(record, indent=2) + "\n"


def _read_record(folder):
    try:
        text = (folder / "mixtures.json").read_text(encoding="utf-8")
        return json.loads(text)
    except (OSError, ValueError):
        return None
