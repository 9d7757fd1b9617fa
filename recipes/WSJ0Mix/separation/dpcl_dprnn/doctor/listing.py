"""The part of the data doctor that goes by the names of mixtures."""

import dataclasses
import os
import re
import typing

from ..common.audio import SOUND_SUFFIXES
from ..common.errors import UserError, few
from ..common.names import utterances_and_gains
from ..datasets.layouts import SPLITS
from ..mixtures.places import unfinished
from .report import Kind, Problem

# What is the speaker in the name of an utterance.
WSJ0_UTTERANCE = re.compile(r"(\d[0-9a-z]{2})[a-z][0-9a-z]{4}")
LIBRISPEECH_UTTERANCE = re.compile(r"(\d+)-\d+-\d+")
EMBEDDED_UTTERANCE = re.compile(r"((?:train|valid|test)\d+)_\d+")
UTTERANCES = (WSJ0_UTTERANCE, LIBRISPEECH_UTTERANCE, EMBEDDED_UTTERANCE)


class Mixture(typing.NamedTuple):
    """A mixture as its folder lists it."""

    split: str
    folder: str
    name: str
    paths: tuple  # the mixture, then its sources; some may be missing
    whole: bool  # whether none is


def list_mixtures(data_set, report, junk):
    """List the mixtures of all splits; report what names show to be wrong.

    Arguments
    ---------
    data_set : layouts.DataSet
    report : Report
        Gets the problems and notes.
    junk : set
        Gets the other files.

    Returns
    -------
    list of Mixture
    """
    found = []
    for split in SPLITS:
        if not data_set.folders[split]:
            _miss_split(data_set, split, report)
        for folder in data_set.folders[split]:
            rows = _list_rows(data_set, split, folder, report.problems, junk)
            _compare_metadata(data_set, split, folder, rows, report)
            whole = data_set.num_spks + 1
            found += [
                Mixture(split, folder, name, tuple(row), len(row) == whole)
                for name, row in rows.items()
            ]
    above = data_set.root.parent
    report.problems += [
        Problem(Kind.SECOND_MICROPHONE, mixture.paths[0])
        for mixture in found
        if "wv2" in os.path.relpath(mixture.paths[0], above).lower()
    ]
    return found


def _miss_split(data_set, split, report):
    """Note or report that a split is missing."""
    if split in data_set.scheme.optional:
        report.notes.append(f"there is no {split} split")
        return
    folder = data_set.scheme.splits[split][0]
    begun = unfinished(data_set.root / folder).exists()
    report.problems.append(
        Problem(
            Kind.NO_SPLIT,
            str(data_set.place(folder, data_set.kind)),
            "unfinished: run the same command again" if begun else "",
        )
    )


def _list_rows(data_set, split, folder, problems, junk):
    """`{name: [mixture, source, ...]}` of a folder, without what is missing."""
    place = data_set.place(folder, data_set.kind)
    if not place.is_dir():  # a list of files
        try:
            rows = data_set.rows(split)
        except UserError as error:
            problems.append(Problem(Kind.LIST, str(place), str(error)))
            return {}
        return {name: list(map(str, row)) for name, row in rows.items()}
    mixtures = _list_files(place, problems, junk)
    if not mixtures:
        problems.append(Problem(Kind.NO_MIXTURES, str(place)))
    rows = {name: [path] for name, path in mixtures.items()}
    for number in range(1, max(1, data_set.num_spks) + 1):
        kind = data_set.scheme.source.format(number)
        place = data_set.place(folder, kind)
        sources = _list_files(place, problems, junk)
        if rows and not sources:
            problems.append(Problem(Kind.MISSING, str(place), "all of them"))
            continue
        for name, row in rows.items():
            if name in sources:
                row.append(sources.pop(name))
            else:
                wanted = place / os.path.basename(row[0])
                problems.append(Problem(Kind.MISSING, str(wanted)))
        problems += [Problem(Kind.EXTRA, path) for path in sources.values()]
    return rows


def _list_files(folder, problems, junk):
    """The sound files of a folder, `{stem: path}`, sorted."""
    found = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        stem, suffix = os.path.splitext(name)
        path = os.path.join(folder, name)
        if name[0] == "." or suffix.lower() not in SOUND_SUFFIXES:
            junk.add(path)
        elif stem in found:
            problems.append(Problem(Kind.SAME_NAME, path))
        else:
            found[stem] = path
    return found


def _compare_metadata(data_set, split, folder, rows, report):
    """Compare what is there with what LibriMix's metadata list, if any."""
    try:
        only = {**data_set.folders, split: (folder,)}
        listing = dataclasses.replace(data_set, folders=only).listing(split)
    except UserError as error:
        report.problems.append(Problem(Kind.LIST, folder, str(error)))
        return
    place = data_set.place(folder, data_set.kind)
    report.problems += [
        Problem(Kind.NO_MIXTURE, str(place / f"{name}.wav"))
        for name in listing
        if name not in rows
    ]
    extra = len(rows.keys() - listing.keys())
    if listing and extra:
        report.notes.append(
            f"{folder} has {extra:,} mixtures that its metadata do not list: "
            "training leaves them out"
        )


def junk_notes(junk):
    """What to note about files that are passed over."""
    if not junk:
        return []
    names = sorted({os.path.basename(path) for path in junk})
    return [
        f"{len(junk):,} hidden or other files are passed over ({few(names)})"
    ]


def name_parts(name, num_spks):
    """What the name of a mixture tells.

    Arguments
    ---------
    name : str
        As in wsj0-mix, `<utterance>_<dB>_<utterance>_<dB>`, or as in
        LibriMix, `<utterance>_<utterance>`.
    num_spks : int
        Speakers in the mixture.

    Returns
    -------
    speakers : tuple of str
        Empty if the name does not tell.
    gains : tuple of float
        In dB; empty if the name does not tell.

    Example
    -------
    >>> name_parts("40na010x_1.9857_01xo031a_-1.9857", 2)
    (('40n', '01x'), (1.9857, -1.9857))
    >>> name_parts("4077-13754-0001_5142-33396-0065", 2)
    (('4077', '5142'), ())
    """
    utterances, gains = utterances_and_gains(name, num_spks)
    for pattern in UTTERANCES:
        speakers = [pattern.fullmatch(each) for each in utterances]
        if len(speakers) == num_spks and all(speakers):
            return tuple(speaker[1] for speaker in speakers), tuple(gains)
    return (), tuple(gains)
