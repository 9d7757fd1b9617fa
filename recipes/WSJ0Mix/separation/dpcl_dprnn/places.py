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

from .audio import write_text
from .errors import UserError

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a split goes, at one rate and in one mode."""

    target: pathlib.Path
    rate: int
    mode: str
    split: str
    record: dict  # what it is made of

    @property
    def folder(self):
        """The folder when all is done."""
        above = self.target / f"wav{self.rate / 1000:g}k" / self.mode
        return above / self.split

    @property
    def partial(self):
        """The folder until then."""
        return self.folder.with_name(f".{self.split}-unfinished")

    def is_there(self):
        """Whether it has been made; refuse what was made otherwise."""
        if not self.folder.exists():
            return False
        if _read_record(self.folder) != self.record:
            raise UserError(
                f"{self.folder} is already there, with other options or "
                "speech. Remove it or choose another --out."
            )
        return True

    def start(self):
        """Make the folder for the work, unless it can be continued."""
        if self.partial.exists() and _read_record(self.partial) != self.record:
            logger.info("%s was left by another run: removed.", self.partial)
            shutil.rmtree(self.partial)
        write_text(self.partial / "mixtures.json", _format(self.record))

    def finish(self):
        """Show the folder, without what killed runs may have left in it."""
        for pattern in (".*", "*/.*"):
            for leftover in self.partial.glob(pattern):
                leftover.unlink()
        self.partial.rename(self.folder)


def list_places(target, split, mixtures, rates, modes):
    """Say where a split goes and what it is made of.

    Arguments
    ---------
    target : pathlib.Path
        The data set's folder.
    split : str
        As `tr`.
    mixtures : dict
        `{name: [rendering.Source, ...]}`.
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
            size = os.stat(file).st_size
            digest.update(f"{name} {size} {gain!r} {level!r}\n".encode())
    for rate in rates:
        for mode in modes:
            record = {
                "split": split,
                "rate": rate,
                "mode": mode,
                "mixtures": len(mixtures),
                "sha256": digest.hexdigest(),
            }
            yield Place(target, rate, mode, split, record)


def _format(record):
    return json.dumps(record, indent=2) + "\n"


def _read_record(folder):
    try:
        text = (folder / "mixtures.json").read_text(encoding="utf-8")
        return json.loads(text)
    except (OSError, ValueError):
        return None
