"""The part of the data doctor that looks at data sets of mixtures."""

import collections
import os

import numpy as np

from ..common.parallel import parallel_map
from ..datasets.layouts import SPLITS
from .facts import hours_of, lengths_of, sample
from .files import MixtureTask, check_mixture
from .listing import junk_notes, list_mixtures, name_parts
from .report import Kind, Problem, Report, span

SAMPLE = 200  # mixtures of each split that a quick check reads
FEW = 1000  # read before another process has even started
ALMOST = 0.9  # of the published mixtures: more may be an unfinished copy
WSJ0_MIX = {"tr": 20000, "cv": 5000, "tt": 3000}
OFFICIAL = {  # mixtures, by layout and number of speakers
    **{("wsj0-mix", n_spks): WSJ0_MIX for n_spks in (2, 3, 4, 5)},
    ("WHAM!", 2): WSJ0_MIX,
    ("LibriMix", 2): {
        "train-360": 50800,
        "train-100": 13900,
        "dev": 3000,
        "test": 3000,
    },
    ("LibriMix", 3): {
        "train-360": 33900,
        "train-100": 9300,
        "dev": 3000,
        "test": 3000,
    },
    ("MiniLibriMix", 2): {"train": 800, "val": 200},
}
# By design, training and validation share their speakers in these.
KNOWN_VALID_SPEAKERS = ("wsj0-mix", "WHAM!", "WHAMR! anechoic", "MiniLibriMix")
TABLE = "  {:5} {:>8} {:>6}  {:14} {:>8}  {:11} {:13} {}"

LEGEND = "  (dB: the first source over the others; LSB: steps of 16 bits)"


def examine_mixtures(data_sets, quick=False, jobs=None, progress=True):
    """Check data sets of mixtures: their names, then what the files hold.

    Arguments
    ---------
    data_sets : list of layouts.DataSet
        The variants of the data.
    quick : bool
        Whether to read only some mixtures of each split.
    jobs : int, optional
        Processes; as many as there are cores by default.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Report
    """
    layouts = dict.fromkeys(each.layout for each in data_sets)
    report = Report(f"mixtures in the layout of {' and '.join(layouts)}")
    if quick:
        report.notes.append(
            f"quick: up to {SAMPLE} mixtures a split were read; hours are estimates"
        )
    junk = set()
    for data_set in data_sets:
        mixtures = list_mixtures(data_set, report, junk)
        checks = _check_all(data_set, mixtures, quick, jobs, progress)
        report.facts += _facts(data_set, mixtures, checks)
        for check in checks.values():
            report.problems += check.problems
        report.problems += _other_rates(data_set, checks)
        report.problems += _repeated(data_set, mixtures, checks)
        _compare_counts(data_set, mixtures, report)
        _compare_speakers(data_set, mixtures, report)
    report.facts.append(LEGEND)
    report.notes += junk_notes(junk)
    report.notes = list(dict.fromkeys(report.notes))
    return report


def _check_all(data_set, mixtures, quick, jobs, progress):
    """`{mixture: what its files hold}`; of a sample only, if quick."""
    chosen = []
    for split in SPLITS:
        here = [m for m in mixtures if m.split == split and m.whole]
        chosen += sample(here, SAMPLE) if quick else here
    noisy = data_set.mixture_type == "both"
    tasks = [MixtureTask(m.paths, data_set.rate, noisy) for m in chosen]
    if len(tasks) < FEW:
        jobs = 1
    checks = parallel_map(
        check_mixture,
        tasks,
        "mixture",
        jobs,
        progress=progress,
        name=f"checking {data_set.kind}",
    )
    return dict(zip(chosen, checks, strict=True))


def _facts(data_set, mixtures, checks):
    """The lines of the page about one data set."""
    noisy = data_set.mixture_type == "both"
    rates = {f"{check.rate} Hz" for check in checks.values() if check.rate}
    heading = [
        f"{data_set.num_spks} speakers",
        f"mixtures in {data_set.kind}" + (", with noise" if noisy else ""),
        " and ".join(sorted(rates)),
    ]
    mode = (
        data_set.root.parts[-2:] if data_set.mode else data_set.root.parts[-1:]
    )
    lines = [f"{'/'.join(mode)}: {', '.join(filter(None, heading))}"]
    lines.append(
        TABLE.format(
            *("split", "mixtures", "hours", "length in s", "speakers"),
            *("dB by name", "dB measured"),
            "to noise" if noisy else "sum off by",
        )
    )
    for split in SPLITS:
        here = [m for m in mixtures if m.split == split]
        found = [check for m, check in checks.items() if m.split == split]
        if here:
            lines.append(_fact(data_set, split, here, found))
    return lines


def _fact(data_set, split, mixtures, checks):
    """The line of the page about one split.

    Gains are those of the first source over the others.
    """
    names = [name_parts(m.name, data_set.num_spks) for m in mixtures]
    speakers = {speaker for each, _ in names for speaker in each}
    named = [gains[0] - g for _, gains in names for g in gains[1:]]
    measured = [level for check in checks for level in check.levels]
    seconds = [c.frames / c.rate for c in checks if c.frames]
    if data_set.mixture_type == "both":
        ratios = [c.snr for c in checks if c.snr is not None]
        last = f"{np.median(ratios):.1f} dB" if ratios else "?"
    else:
        residues = [c.residue for c in checks if c.residue is not None]
        last = f"{max(residues):.0f} LSB" if residues else "?"
    return TABLE.format(
        *(split, f"{len(mixtures):,}", hours_of(seconds, len(mixtures))),
        *(lengths_of(seconds), len(speakers) or "?"),
        *(span(named), span(measured), last),
    )


def _other_rates(data_set, checks):
    """Mixtures at another rate than most, where no folder tells the rate."""
    rates = collections.Counter(c.rate for c in checks.values() if c.rate)
    if data_set.rate is not None or len(rates) < 2:
        return []
    usual = rates.most_common(1)[0][0]
    return [
        Problem(Kind.WRONG_RATE, m.paths[0], f"{c.rate} Hz, most {usual} Hz")
        for m, c in checks.items()
        if c.rate not in (usual, None)
    ]


def _repeated(data_set, mixtures, checks):
    """Mixtures that come twice, by what they hold or by a telling name."""
    problems, first = [], {}
    for mixture in mixtures:
        keys = []
        if mixture in checks and checks[mixture].digest:
            keys.append(checks[mixture].digest)
        if name_parts(mixture.name, data_set.num_spks)[0]:
            keys.append(mixture.name)
        before = [first.setdefault(key, mixture) for key in keys]
        other = next((each for each in before if each is not mixture), None)
        if other is not None:
            same = other.split == mixture.split
            kind = Kind.DUPLICATE if same else Kind.LEAK
            file = os.path.basename(other.paths[0])
            detail = f"as {other.folder}'s {file}"
            problems.append(Problem(kind, mixture.paths[0], detail))
    return problems


def _compare_counts(data_set, mixtures, report):
    """Compare the sizes of the splits with those of the published set."""
    official = OFFICIAL.get((data_set.layout, data_set.num_spks), {})
    counts = collections.Counter(mixture.folder for mixture in mixtures)
    # Of other utterances than the published ones, any number is whole.
    telling = {
        mixture.folder
        for mixture in mixtures
        for speaker in name_parts(mixture.name, data_set.num_spks)[0]
        if speaker[0].isdigit()
    }
    smaller = []
    for folder, count in counts.items():
        whole = official.get(folder, 0)
        if ALMOST * whole <= count < whole and folder in telling:
            detail = f"{count:,} of {whole:,} mixtures"
            where = str(data_set.root / folder)
            report.problems.append(Problem(Kind.INCOMPLETE, where, detail))
        elif count < whole:
            smaller.append(f"{folder} {count:,} of {whole:,}")
    if smaller:
        report.notes.append(
            f"smaller than the published {data_set.layout}: "
            f"{', '.join(smaller)} mixtures"
        )


def _compare_speakers(data_set, mixtures, report):
    """Look for speakers that are in two splits."""
    speakers = {split: set() for split in SPLITS}
    for mixture in mixtures:
        here = name_parts(mixture.name, data_set.num_spks)[0]
        speakers[mixture.split].update(here)
    for one, other in (
        ("train", "valid"),
        ("train", "test"),
        ("valid", "test"),
    ):
        shared = sorted(speakers[one] & speakers[other])
        if not shared:
            continue
        if other == "valid" and data_set.layout in KNOWN_VALID_SPEAKERS:
            report.notes.append(
                f"{one} and {other} share {len(shared)} speakers, as in every "
                f"{data_set.layout}"
            )
            continue
        report.problems += [
            Problem(
                Kind.SHARED_SPEAKER, f"speaker {name}", f"{one} and {other}"
            )
            for name in shared
        ]
