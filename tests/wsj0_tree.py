"""A small WSJ0 with lists, and wsj0-mix computed from it by the plain rule.

The rule is written here once more, in float64 and with loops, so that it
shares no code with the package.
"""

import itertools
import math
import pathlib
import re
import zlib

import numpy as np
import scipy.signal
import soundfile
from shorten import write_shortened, write_sphere

from dpcl_dprnn.sound.ffmpeg import find_decoder

RATE = 16000
SPLITS = ("tr", "cv", "tt")

FOLDERS = {
    **dict.fromkeys(("22g", "22h", "423", "052"), "si_dt_05"),
    "445": "si_et_05",
}


def official(*mixtures):
    """Lines of the official lists, each of a gain and its utterances."""
    text = ""
    for mixture in mixtures:
        gain, *stems = mixture.split()
        for stem, each in zip(stems, (gain, f"-{gain}", "0"), strict=False):
            folder = FOLDERS.get(stem[:3], "si_tr_s")
            text += f"wsj0/{folder}/{stem[:3]}/{stem}.wav {each} "
        text += "\n"
    return text


LISTS = {
    2: {
        "tr": official(
            "1.9857 40na010x 01xo031a",
            "6.9829e-05 01fa010j 40gc020a",
            "0.17306 01xo031a 01io030g",
        ),
        "cv": official("0.76421 01to030v 20ga010m"),
        "tt": official("0.60431 445c0206 22gc0105", "1.0627 423a0110 22ho010o"),
    },
    3: {
        "tr": official(
            "1.2972 01ca0102 209c0105 20mo010h",
            "0.27613 406c020k 01tc021c 01ca0102",
        ),
        "cv": official("0.93544 01to030v 01ca010e 20pa010u"),
        "tt": official("1.9805 22ho010o 052a050y 445o030v"),
    },
}


def entries(line):
    """[(path, gain), ...] of a line, both as they are written."""
    return re.findall(r"(\S.*?\.wav) (\S+)", line)


def utterances(lists=None):
    """The stems in lists, `{stem: path in the list}`, in order."""
    if lists is None:
        lists = itertools.chain(*(each.values() for each in LISTS.values()))
    lines = (line for text in lists for line in text.splitlines())
    paths = [path for line in lines for path, _ in entries(line)]
    return {pathlib.PurePath(path).stem: path for path in paths}


def speech_of(stem):
    """Bursts of coloured noise with pauses, int16, 0.5 to 0.9 s."""
    rng = np.random.default_rng(zlib.crc32(stem.encode()))
    length = int(rng.integers(8000, 14400))
    noise = scipy.signal.lfilter([1], [1, -0.9], rng.standard_normal(length))
    phase, speed = rng.uniform(0, 6), rng.uniform(3, 6)
    beat = np.sin(phase + speed * 2 * np.pi * np.arange(length) / RATE)
    # The rest is as quiet as a room, so that the last bit matters.
    noise *= 0.003 + np.clip(beat, 0, None)
    peak = rng.uniform(1000, 25000)
    return np.round(noise * peak / np.abs(noise).max()).astype(np.int16)


def make_wsj0(folder):
    """WSJ0 on several discs, with all that the discs of the LDC have.

    Upper and lower case, both byte orders, one converted file, and one that
    is compressed where that can be read.
    """
    for number, (stem, path) in enumerate(utterances().items()):
        samples, place = speech_of(stem), pathlib.PurePath(path)
        if number % 3 == 0:
            place = pathlib.PurePath("CSR 1/11-1.1", place.with_suffix(".wv1"))
            write_sphere(folder / place, samples)
        elif number % 3 == 1:
            name = str(place.with_suffix(".wv1")).upper()
            write_sphere(folder / "Übrige" / name, samples, byte_order="10")
        elif number == 2 and find_decoder():
            place = pathlib.PurePath("13-16.1", place.with_suffix(".wv1"))
            write_shortened(folder / place, samples)
        else:
            place = folder / "converted" / place
            place.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(place, samples, RATE)
    return folder


def write_lists(folder, lists, n_spks=2):
    """`mix_<n>_spk_<split>.txt` from `{split: text}`."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, text in lists.items():
        (folder / f"mix_{n_spks}_spk_{split}.txt").write_text(text)
    return folder


def name_of(line):
    """The name of a mixture, from the words of its line."""
    return "_".join(f"{pathlib.PurePath(p).stem}_{g}" for p, g in entries(line))


def at_8k(samples):
    return scipy.signal.resample_poly(samples / 32768, 1, 2)


def p56_by_sample(samples, rate=8000):
    """The standard's method B as it is printed, a sample after the other."""
    exponents = np.arange(-60, 3)
    thresholds = 2.0**exponents
    g = math.exp(-1 / (rate * 0.03))
    hangover = round(0.2 * rate)
    activity = np.zeros(len(thresholds), dtype=int)
    hung = np.full(len(thresholds), hangover)
    p = q = energy = 0.0
    for sample in samples:
        energy += sample * sample
        p = g * p + (1 - g) * abs(sample)
        q = g * q + (1 - g) * p
        above = q >= thresholds
        activity += above | (hung < hangover)
        hung = np.where(above, 0, np.minimum(hung + 1, hangover))
    before = None
    for exponent, active in zip(exponents, activity, strict=True):
        level = 10 * math.log10(energy / active)
        margin = level - 20 * exponent * math.log10(2)
        if margin <= 15.9:
            part = (before[1] - 15.9) / (before[1] - margin)
            return 10 ** ((before[0] + part * (level - before[0])) / 10)
        before = level, margin
    raise AssertionError("the margin never fell to 15.9 dB")


def plain_rule(line, levels, rate, mode):
    """[mixture, source, ...] of a line, in steps of 16 bits, not rounded."""
    scaled = []
    for path, gain in entries(line):
        stem = pathlib.PurePath(path).stem
        samples = speech_of(stem)
        samples = at_8k(samples) if rate == 8000 else samples / 32768
        scale = 10 ** (float(gain) / 20) / math.sqrt(levels[stem])
        scaled.append(samples * scale)
    lengths = [len(source) for source in scaled]
    if mode == "min":
        scaled = [source[: min(lengths)] for source in scaled]
    else:
        scaled = [
            np.concatenate([source, np.zeros(max(lengths) - len(source))])
            for source in scaled
        ]
    signals = np.array([np.sum(scaled, axis=0), *scaled])
    return signals * 0.9 / np.abs(signals).max() * 2**15


def contents(folder):
    """The bytes of all files, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stamps(paths):
    """What changes when a file is written again."""
    stats = {path: path.stat() for path in paths}
    return {path: (s.st_ino, s.st_mtime_ns) for path, s in stats.items()}
