"""Where the mixtures of a split go, and which of them are there.

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
import typing

from ..common.errors import UserError
from ..common.files import write_text

logger = logging.getLogger(__name__)


class Source(typing.NamedTuple):
    """What one speaker says in a mixture."""

    name: str  # of the utterance, as in a list of mixtures
    file: str
    gain_db: float
    level: float | None = None  # active level where it is known


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a split goes, at one rate and in one mode."""

    folder: pathlib.Path  # when all is done
    rate: int
    mode: str
    mixtures: dict  # {name: [Source, ...]}
    record: dict  # what it is made of

    @property
    def partial(self):
        """The folder until then."""
        return unfinished(self.folder)

    def is_whole(self):
        """Whether all of it is there; refuse what was made otherwise."""
        if not self.folder.exists():
            return False
        if _read_record(self.folder) != self.record:
            raise already_there(self.folder)
        return not self.lacking(self.folder)

    def lacking(self, folder):
        """The names of mixtures of which a folder lacks a file, or has an
        empty one, as a crash of the computer may leave it.
        """
        kinds = {k for each in self.mixtures.values() for k in kinds_of(each)}
        full = {kind: _full_files(folder / kind) for kind in kinds}
        return [
            name
            for name, sources in self.mixtures.items()
            if any(f"{name}.wav" not in full[k] for k in kinds_of(sources))
        ]

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
        text = json.dumps(self.record, indent=2) + "\n"
        write_text(self.partial / "mixtures.json", text)

    def finish(self):
        """Show the folder, without what killed runs may have left in it."""
        for pattern in (".*", "*/.*"):
            for leftover in self.partial.glob(pattern):
                leftover.unlink()
        self.partial.rename(self.folder)


def list_places(target, split, mixtures, digests, rates, modes):
    """A `Place` for each rate (Hz) and mode of a split of the data set in
    `target`, whose mixtures are `{name: [Source, ...]}`; `digests` are of what
    each file holds, by its name.
    """
    digest = hashlib.sha256()
    for name, sources in mixtures.items():
        digest.update(f"{name}\n".encode())
        for name, file, gain, level in sources:
            held = digests[file]
            digest.update(f"{name} {held} {gain!r} {level!r}\n".encode())
    made_of = {"mixtures": len(mixtures), "sha256": digest.hexdigest()}
    return [
        Place(
            target / f"wav{rate / 1000:g}k" / mode / split,
            *(rate, mode, mixtures),
            {"split": split, "rate": rate, "mode": mode, **made_of},
        )
        for rate in rates
        for mode in modes
    ]


def unfinished(folder):
    """Where a split is made that will show as `folder`."""
    return folder.with_name(f".{folder.name}-unfinished")


def kinds_of(sources):
    """The folders that a mixture has files in: s1, s2 and so on, and mix."""
    return [f"s{n}" for n in range(1, len(sources) + 1)] + ["mix"]


def already_there(path):
    """The `UserError` for what was made otherwise than it would be now."""
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


def _read_record(folder):
    try:
        text = (folder / "mixtures.json").read_text(encoding="utf-8")
        return json.loads(text)
    except (OSError, ValueError):
        return None
