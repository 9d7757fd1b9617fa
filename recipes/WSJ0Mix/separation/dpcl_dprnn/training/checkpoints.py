"""Checkpoints that are whole."""

import contextlib
import hashlib
import logging
import os
import shutil

from speechbrain.utils.checkpoints import (
    Checkpointer,
    ckpt_recency,
)
from speechbrain.utils.logger import get_logger

from ..common.distributed import on_main
from ..common.errors import UserError, first_line

logger = get_logger(__name__)

SUMS = "SHA256SUMS"  # `sha256sum -c` reads it
PARTIAL, DAMAGED = "partial+", "damaged+"  # before the name of a folder


class AtomicCheckpointer(Checkpointer):
    """SpeechBrain's checkpointer, mended to show whole checkpoints only.

    The parent's checkpoint counts from its first file on, so that a full
    disk or a kill leaves one that cannot be loaded in front of the good
    ones. Here it gets its name when all of it is on the disk, loses it before
    the first of its files is deleted, and has a list of checksums. One that
    was damaged nevertheless is named and set aside, and the one before taken.

    All methods have to be called by all processes; one of them writes.
    """

    def _new_checkpoint_dirpath(self):
        final = super()._new_checkpoint_dirpath()
        return final.with_name(PARTIAL + final.name)

    def save_checkpoint(self, **arguments):
        """See the parent; a failure is a `UserError` and leaves no trace."""
        return on_main(self._save_whole, **arguments)

    def _save_whole(self, **arguments):
        try:
            saved = super().save_checkpoint(**arguments)
            write_sums(saved.path)
            final = saved.path.with_name(saved.path.name.removeprefix(PARTIAL))
            saved.path.rename(final)
            sync(self.checkpoints_dir)
        except (OSError, RuntimeError) as error:
            self._remove_partial()
            # PyTorch tells of a full disk by a line of its own source.
            why = getattr(error, "strerror", None) or "it was not written whole"
            raise UserError(
                f"Cannot save a checkpoint in {self.checkpoints_dir}: "
                f"{why}. If the disk is full, free some space "
                "and run the same command again: earlier checkpoints are "
                "whole."
            ) from error
        self._remove_partial()  # of saves that were killed
        files = {k: final / p.name for k, p in saved.paramfiles.items()}
        return saved._replace(path=final, paramfiles=files)

    def delete_checkpoints(
        self,
        *,
        num_to_keep=1,
        min_keys=None,
        max_keys=None,
        importance_keys=(ckpt_recency,),
        ckpt_predicate=None,
        verbosity=logging.INFO,
    ):
        """See the parent."""
        rankings = [
            *({"min_key": key} for key in min_keys or ()),
            *({"max_key": key} for key in max_keys or ()),
            *({"importance_key": key} for key in importance_keys),
        ]

        def _delete():
            found, kept = set(), set()
            for ranking in rankings:
                ranked = self.find_checkpoints(
                    ckpt_predicate=ckpt_predicate, **ranking
                )
                found.update(ranked)
                kept.update(ranked[:num_to_keep])
            for checkpoint in found - kept:
                name = checkpoint.path.name
                checkpoint.path.rename(
                    checkpoint.path.with_name(PARTIAL + name)
                )
                logger.log(verbosity, f"Deleted checkpoint {name}")
            self._remove_partial()

        on_main(_delete)

    def recover_if_possible(self, *args, **kwargs):
        """See the parent; damaged checkpoints are set aside first.

        One process chooses for all, which may see an older state of a disk
        that machines share.
        """

        def _choose():
            self.set_aside_damaged()
            return self.find_checkpoint(*args, **kwargs)

        chosen = on_main(_choose)
        if chosen is None:
            return None
        if not chosen.path.is_dir():
            raise UserError(
                f"{chosen.path} is not on this machine. All machines of a run "
                "need the same disk for --output_folder."
            )
        self.load_checkpoint(chosen)
        return chosen

    def load_checkpoint(self, checkpoint):
        """See the parent; one of another model is a `UserError`."""
        try:
            super().load_checkpoint(checkpoint)
        except (RuntimeError, ValueError, KeyError) as error:
            raise UserError(
                f"{checkpoint.path} does not fit this model "
                f"({first_line(error)}). Choose another --output_folder, or "
                "the hparams it was trained with."
            ) from error

    def set_aside_damaged(self):
        """Rename the checkpoints that are not as they were written."""
        for folder in sorted(self._list_checkpoint_dirs()):
            wrong = damage(folder)
            if wrong:
                aside = folder.with_name(DAMAGED + folder.name)
                folder.rename(aside)
                logger.warning(
                    f"The checkpoint {folder} is damaged ({wrong}). It is now "
                    f"{aside.name}, and the one before is used, if there is "
                    "one."
                )

    def newest_whole(self):
        """The folder of the newest checkpoint that is not damaged, or None."""
        folders = self._list_checkpoint_dirs()
        whole = [folder for folder in folders if not damage(folder)]
        newest = self._construct_checkpoint_objects(whole)
        return max(newest, key=ckpt_recency).path if newest else None

    def _list_checkpoint_dirs(self):
        """The parent would not see one that lost its CKPT.yaml."""
        return [
            path
            for path in self.checkpoints_dir.iterdir()
            if path.name.startswith("CKPT+") and path.is_dir()
        ]

    def _remove_partial(self):
        for folder in self.checkpoints_dir.glob(PARTIAL + "*"):
            shutil.rmtree(folder, ignore_errors=True)


def write_sums(folder):
    """List the checksums of a folder's files, and wait for the disk."""
    lines = []
    for path in sorted(set(folder.iterdir()) - {folder / SUMS}):
        lines.append(f"{checksum(path)}  {path.name}\n")
        sync(path)
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
    sync(folder / SUMS)
    sync(folder)


def damage(folder):
    """What is wrong with a checkpoint, in words; None where nothing is."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return f"{SUMS} is missing"
    listed = {line.partition("  ")[2] for line in lines}
    if not listed >= {path.name for path in folder.iterdir()} - {SUMS}:
        return f"{SUMS} is cut off"
    for line in lines:
        expected, _, name = line.partition("  ")
        try:
            if checksum(folder / name) != expected:
                return f"{name} is cut off or changed"
        except OSError:
            return f"{name or SUMS} is missing"
    return None


def checksum(path):
    """SHA-256 of a file, in hexadecimal digits."""
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            sha.update(piece)
    return sha.hexdigest()


def sync(path):
    """Have a file or folder written to the disk, so that it outlives a power
    cut; some network disks cannot do so for folders.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
