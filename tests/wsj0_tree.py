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

from dpcl_dprnn.speech.sphere import find_decoder

RATE = 16000
SPLITS = ("tr", "cv", "tt")

# Lines of the official lists.
LISTS = {
    2: {
        "tr": "wsj0/si_tr_s/40n/40na010x.wav 1.9857 "
        "wsj0/si_tr_s/01x/01xo031a.wav -1.9857 \n"
        "wsj0/si_tr_s/01f/01fa010j.wav 6.9829e-05 "
        "wsj0/si_tr_s/40g/40gc020a.wav -6.9829e-05 \n"
        "wsj0/si_tr_s/01x/01xo031a.wav 0.17306 "
        "wsj0/si_tr_s/01i/01io030g.wav -0.17306 \n",
        "cv": "wsj0/si_tr_s/01t/01to030v.wav 0.76421 "
        "wsj0/si_tr_s/20g/20ga010m.wav -0.76421 \n",
        "tt": "wsj0/si_et_05/445/445c0206.wav 0.60431 "
        "wsj0/si_dt_05/22g/22gc0105.wav -0.60431 \n"
        "wsj0/si_dt_05/423/423a0110.wav 1.0627 "
        "wsj0/si_dt_05/22h/22ho010o.wav -1.0627 \n",
    },
    3: {
        "tr": "wsj0/si_tr_s/01c/01ca0102.wav 1.2972 "
        "wsj0/si_tr_s/209/209c0105.wav -1.2972 "
        "wsj0/si_tr_s/20m/20mo010h.wav 0 \n"
        "wsj0/si_tr_s/406/406c020k.wav 0.27613 "
        "wsj0/si_tr_s/01t/01tc021c.wav -0.27613 "
        "wsj0/si_tr_s/01c/01ca0102.wav 0 \n",
        "cv": "wsj0/si_tr_s/01t/01to030v.wav 0.93544 "
        "wsj0/si_tr_s/01c/01ca010e.wav -0.93544 "
        "wsj0/si_tr_s/20p/20pa010u.wav 0 \n",
        "tt": "wsj0/si_dt_05/22h/22ho010o.wav 1.9805 "
        "wsj0/si_dt_05/052/052a050y.wav -1.9805 "
        "wsj0/si_et_05/445/445o030v.wav 0 \n",
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


def loop_level(samples, rate=8000):
    """ITU-T P.56, method B, by its recipe: counters for each threshold."""
    decay = math.exp(-1 / (0.03 * rate))
    hangover = round(0.2 * rate)
    thresholds = [2.0**-k for k in range(1, 31)]
    active, waited = [0] * 30, [hangover] * 30
    energy = smooth = envelope = 0.0
    for sample in samples.tolist():
        energy += sample * sample
        smooth = decay * smooth + (1 - decay) * abs(sample)
        envelope = decay * envelope + (1 - decay) * smooth
        for j, threshold in enumerate(thresholds):
            if envelope >= threshold:
                # It is above all that follow, too.
                for k in range(j, 30):
                    active[k] += 1
                    waited[k] = 0
                break
            if waited[j] < hangover:
                active[j] += 1
                waited[j] += 1
    last = None
    for threshold, count in zip(thresholds, active, strict=True):
        if not count:
            continue
        level = 10 * math.log10(energy / count)
        margin = level - 20 * math.log10(threshold)
        if margin >= 15.9:
            part = (15.9 - last[1]) / (margin - last[1])
            return 10 ** ((last[0] + part * (level - last[0])) / 10)
        last = level, margin
    raise AssertionError("no active speech")


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
