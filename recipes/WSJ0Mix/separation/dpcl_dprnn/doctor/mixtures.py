"""The part of the data doctor that looks at data sets of mixtures."""

import collections
import itertools
import os
import re
import typing

import numpy as np

from ..common.errors import UserError, few
from ..common.names import utterances_and_gains
from ..datasets.layouts import SPLITS, list_sounds
from ..mixtures.places import unfinished
from .examiner import is_unfinished, repeats, times_of
from .files import Task, check_files
from .report import Kind, Report

SAMPLE = 200  # mixtures of each split that a quick check reads
WSJ0_MIX = {"tr": 20000, "cv": 5000, "tt": 3000}
LIBRI_HELD_OUT = {"dev": 3000, "test": 3000}
OFFICIAL = {  # mixtures, by layout and number of speakers
    **{("wsj0-mix", n_spks): WSJ0_MIX for n_spks in (2, 3, 4, 5)},
    ("WHAM!", 2): WSJ0_MIX,
    ("LibriMix", 2): {"train-360": 50800, "train-100": 13900, **LIBRI_HELD_OUT},
    ("LibriMix", 3): {"train-360": 33900, "train-100": 9300, **LIBRI_HELD_OUT},
    ("MiniLibriMix", 2): {"train": 800, "val": 200},
}
# By design, training and validation share their speakers in these.
KNOWN_VALID_SPEAKERS = ("wsj0-mix", "WHAM!", "WHAMR! anechoic", "MiniLibriMix")
TABLE = "  {:5} {:>8} {:>6}  {:14} {:>8}  {:11} {:13} {}"
LEGEND = "  (dB: the first source over the others; LSB: steps of 16 bits)"
# What is the speaker in the name of an utterance.
UTTERANCES = (
    re.compile(r"(\d[0-9a-z]{2})[a-z][0-9a-z]{4}"),  # WSJ0
    re.compile(r"(\d+)-\d+-\d+"),  # LibriSpeech
    re.compile(r"((?:train|valid|test)\d+)_\d+"),  # `prepare_data.py corpus`
)


class Mixture(typing.NamedTuple):
    """A mixture as its folder lists it."""

    split: str
    folder: str
    name: str
    paths: tuple  # the mixture, then its sources; some may be missing
    speakers: tuple  # as `name_parts` says
    gains: tuple


def examine_mixtures(data_sets, reader):
    """The `Report` of the variants of the data: of names, then of what files
    hold.
    """
    layouts = dict.fromkeys(each.layout.name for each in data_sets)
    report = Report(f"mixtures in the layout of {' and '.join(layouts)}")
    if reader.quick:
        report.notes.append(
            f"quick: up to {SAMPLE} mixtures a split were read; hours are estimates"
        )
    junk = set()
    for data_set in data_sets:
        mixtures = _list_mixtures(data_set, report, junk)
        checks = _check_all(data_set, mixtures, reader, report)
        report.facts += _facts(data_set, mixtures, checks)
        _compare_rates(data_set, checks, report)
        _find_repeated(mixtures, checks, report)
        _compare_counts(data_set, mixtures, report)
        _compare_speakers(data_set, mixtures, report)
    report.facts.append(LEGEND)
    if junk:
        names = sorted({path.name for path in junk})
        report.notes.append(
            f"{len(junk):,} hidden or other files are passed over ({few(names)})"
        )
    report.notes = list(dict.fromkeys(report.notes))
    return report


def _list_mixtures(data_set, report, junk):
    """The mixtures of all splits; reports what names show to be wrong."""
    found = []
    for split in SPLITS:
        if not data_set.folders[split]:
            _miss_split(data_set, split, report)
        for folder in data_set.folders[split]:
            rows = _list_rows(data_set, split, folder, report, junk)
            _compare_metadata(data_set, folder, rows, report)
            for name, row in rows.items():
                parts = name_parts(name, data_set.num_spks)
                found.append(Mixture(split, folder, name, tuple(row), *parts))
    above = data_set.root.parent
    for mixture in found:
        if "wv2" in os.path.relpath(mixture.paths[0], above).lower():
            report.add(Kind.SECOND_MICROPHONE, mixture.paths[0])
    return found


def _miss_split(data_set, split, report):
    """Note or report that a split is missing."""
    if split in data_set.layout.optional:
        report.notes.append(f"there is no {split} split")
        return
    folder = data_set.layout.splits[split][0]
    begun = unfinished(data_set.root / folder).exists()
    report.add(
        Kind.NO_SPLIT,
        data_set.place(folder, data_set.kind),
        "unfinished: run the same command again" if begun else "",
    )


def _list_rows(data_set, split, folder, report, junk):
    """`{name: [mixture, source, ...]}` of a folder, without what is missing."""
    place = data_set.place(folder, data_set.kind)
    if not place.is_dir():  # a list of files
        try:
            rows = data_set.rows(split)
        except UserError as error:
            report.add(Kind.LIST, place, str(error))
            return {}
        return {name: list(map(str, row)) for name, row in rows.items()}
    mixtures = _list_files(place, report, junk)
    if not mixtures:
        report.add(Kind.NO_MIXTURES, place)
    rows = {name: [path] for name, path in mixtures.items()}
    for number in range(1, max(1, data_set.num_spks) + 1):
        place = data_set.place(folder, data_set.layout.source.format(number))
        sources = _list_files(place, report, junk)
        if rows and not sources:
            report.add(Kind.MISSING, place, "all of them")
            continue
        for name, row in rows.items():
            if name in sources:
                row.append(sources.pop(name))
            else:
                report.add(Kind.MISSING, place / os.path.basename(row[0]))
        for path in sources.values():
            report.add(Kind.EXTRA, path)
    return rows


def _list_files(folder, report, junk):
    """The sound files of a folder, `{stem: path}`, sorted."""
    sounds, twins, others = list_sounds(folder)
    for name in twins:
        report.add(Kind.SAME_NAME, folder / name)
    junk.update(folder / name for name in others)
    return {stem: os.path.join(folder, name) for stem, name in sounds.items()}


def _compare_metadata(data_set, folder, rows, report):
    """Compare what is there with what LibriMix's metadata list, if any."""
    try:
        listing = data_set.listed(folder)
    except UserError as error:
        report.add(Kind.LIST, folder, str(error))
        return
    place = data_set.place(folder, data_set.kind)
    for name in listing:
        if name not in rows:
            report.add(Kind.NO_MIXTURE, place / f"{name}.wav")
    extra = len(rows.keys() - listing.keys())
    if listing and extra:
        report.notes.append(
            f"{folder} has {extra:,} mixtures that its metadata do not list: "
            "training leaves them out"
        )


def name_parts(name, num_spks):
    """The speakers and the gains in dB, of as many as there are, that the name
    of a mixture tells; () of what it does not: as `lists.mixture_name` writes
    it, or as in LibriMix, `<utterance>_<utterance>`.

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


def _check_all(data_set, mixtures, reader, report):
    """`{mixture: what its files hold}`; of a sample only, if quick."""
    noisy = data_set.mixture_type == "both"
    whole = [m for m in mixtures if len(m.paths) == data_set.num_spks + 1]
    tasks = {}
    for split in SPLITS:
        here = [m for m in whole if m.split == split]
        for m in reader.choose(here, SAMPLE):
            tasks[m] = Task(m.paths, data_set.rate, noisy)
    name = f"checking {data_set.kind}"
    return reader.read(check_files, tasks, report, "mixture", name)


def _facts(data_set, mixtures, checks):
    """The lines of the page about one data set."""
    noisy = data_set.mixture_type == "both"
    rates = {f"{check.rate} Hz" for check in checks.values() if check.rate}
    rates = f", {' and '.join(sorted(rates))}" if rates else ""
    place = "/".join(data_set.root.parts[-2 if data_set.mode else -1 :])
    lines = [
        f"{place}: {data_set.num_spks} speakers, mixtures in {data_set.kind}"
        + (", with noise" if noisy else "")
        + rates,
        TABLE.format(
            *("split", "mixtures", "hours", "length in s", "speakers"),
            *("dB by name", "dB measured"),
            "to noise" if noisy else "sum off by",
        ),
    ]
    for split in SPLITS:
        here = [m for m in mixtures if m.split == split]
        found = [check for m, check in checks.items() if m.split == split]
        if here:
            lines.append(_fact(split, here, found, noisy))
    return lines


def _fact(split, mixtures, checks, noisy):
    """The line of the page about one split.

    Gains are those of the first source over the others.
    """
    speakers = {speaker for m in mixtures for speaker in m.speakers}
    named = [m.gains[0] - gain for m in mixtures for gain in m.gains[1:]]
    measured = [level for check in checks for level in check.levels]
    if noisy:
        ratios = [c.snr for c in checks if c.snr is not None]
        last = f"{np.median(ratios):.1f} dB" if ratios else "?"
    else:
        residues = [c.residue for c in checks if c.residue is not None]
        last = f"{max(residues):.0f} LSB" if residues else "?"
    return TABLE.format(
        *(split, f"{len(mixtures):,}", *times_of(checks, len(mixtures))),
        *(len(speakers) or "?", _span(named), _span(measured), last),
    )


def _span(values):
    """The least and the greatest of some levels in dB."""
    values = [value for value in values if value is not None]
    if not values:
        return "?"
    ends = [round(v, 1) + 0.0 for v in (min(values), max(values))]  # no -0.0
    return " to ".join(f"{value:.1f}" for value in ends)


def _compare_rates(data_set, checks, report):
    """Report other rates than most have, where no folder tells the rate."""
    rates = collections.Counter(c.rate for c in checks.values() if c.rate)
    if data_set.rate is not None or not rates:
        return
    usual = rates.most_common(1)[0][0]
    for m, c in checks.items():
        if c.rate not in (usual, None):
            detail = f"{c.rate} Hz, most {usual} Hz"
            report.add(Kind.WRONG_RATE, m.paths[0], detail)


def _find_repeated(mixtures, checks, report):
    """Report what comes twice, by what it holds or by a telling name."""
    keyed = []
    for m in mixtures:
        digest = checks[m].digest if m in checks else None
        keys = [digest, m.name if m.speakers else None]
        keyed.append((m, filter(None, keys)))
    for m, other in repeats(keyed):
        kind = Kind.DUPLICATE if other.split == m.split else Kind.LEAK
        file = os.path.basename(other.paths[0])
        report.add(kind, m.paths[0], f"as {other.folder}'s {file}")


def _compare_counts(data_set, mixtures, report):
    """Compare the sizes of the splits with those of the published set."""
    layout = data_set.layout.name
    official = OFFICIAL.get((layout, data_set.num_spks), {})
    counts = collections.Counter(mixture.folder for mixture in mixtures)
    # Of other utterances than the published ones, any number is whole.
    telling = {
        mixture.folder
        for mixture in mixtures
        for speaker in mixture.speakers
        if speaker[0].isdigit()
    }
    smaller = []
    for folder, count in counts.items():
        whole = official.get(folder, 0)
        detail = f"{count:,} of {whole:,}"
        if is_unfinished(count, whole) and folder in telling:
            where = data_set.root / folder
            report.add(Kind.INCOMPLETE, where, f"{detail} mixtures")
        elif count < whole:
            smaller.append(f"{folder} {detail}")
    if smaller:
        report.notes.append(
            f"smaller than the published {layout}: {', '.join(smaller)} mixtures"
        )


def _compare_speakers(data_set, mixtures, report):
    """Look for speakers that are in two splits."""
    layout = data_set.layout.name
    speakers = {split: set() for split in SPLITS}
    for mixture in mixtures:
        speakers[mixture.split].update(mixture.speakers)
    for one, other in itertools.combinations(SPLITS, 2):
        shared = sorted(speakers[one] & speakers[other])
        if shared and other == "valid" and layout in KNOWN_VALID_SPEAKERS:
            report.notes.append(
                f"train and valid share {len(shared)} speakers, as in every "
                f"{layout}"
            )
            continue
        for name in shared:
            where, detail = f"speaker {name}", f"{one} and {other}"
            report.add(Kind.SHARED_SPEAKER, where, detail)
