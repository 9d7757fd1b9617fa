"""A healthy wsj0-mix, and faults to plant in it or in other data."""

import shutil

import numpy as np
import soundfile
import trees
from refusals import refused

from dpcl_dprnn.datasets.data_sets import find_data_sets
from dpcl_dprnn.doctor.report import Kind

ROOT = "wav8k/min"
NAMES = {  # as in wsj0-mix: tr and cv share speakers, tt has others
    "tr": ["40na010x_2.25_01xo031a_-2.25", "20ga010m_0.5_01to030v_-0.5"],
    "cv": ["40na0101_1.5_01xo0301_-1.5", "20ga0101_0.25_40no0301_-0.25"],
    "tt": ["445c0206_0.75_22gc0105_-0.75", "420c020h_1_442c0203_-1"],
}
TR, CV, TT = (names[0] for names in NAMES.values())
KINDS = ("mix", "s1", "s2")


def make_data(folder):
    """A wsj0-mix with two mixtures a split, named like real ones."""
    folder = trees.make_wsj0mix(folder)
    for split, names in NAMES.items():
        for kind in KINDS:
            paths = sorted((folder / ROOT / split / kind).iterdir())
            for path, name in zip(paths, names, strict=True):
                path.rename(path.with_name(f"{name}.wav"))
    return folder


def at(split, kind, name, suffix=".wav"):
    """The place of a file in the data."""
    return f"{ROOT}/{split}/{kind}/{name}{suffix}"


def steps(path):
    return soundfile.read(path, dtype="int16")[0]


def write(path, samples, rate=8000):
    """Write a file, of samples in steps of 16 bits."""
    soundfile.write(path, np.asarray(samples).astype(np.int16), rate)


def change(data, split, name, **signals):
    """Write other samples to some files of a mixture."""
    for kind, samples in signals.items():
        write(data / at(split, kind, name), samples)


def rename(data, split, name, new):
    """Rename all files of a mixture."""
    for kind in KINDS:
        (data / at(split, kind, name)).rename(data / at(split, kind, new))


# What may be wrong with one file


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def not_sound(path):
    path.write_text("hello")


def dead_link(path):
    path.unlink()
    path.symlink_to("nothing")


def empty(path):
    write(path, [])


def silent(path):
    write(path, np.zeros(8000))


def stereo(path):
    write(path, np.zeros((8000, 2)))


def not_finite(path):
    samples = steps(path) / 32768
    samples[-7] = np.nan
    soundfile.write(path, samples, 8000, subtype="FLOAT")


def planted(damage, kind, where):
    """What damages a file of the data, and says which problem that is."""

    def plant(data):
        damage(data / where)
        return {(kind, where)}

    plant.__name__ = damage.__name__
    return plant


# What may be wrong with mixtures


def cut_flac(data):
    for kind in KINDS:
        path = data / at("tt", kind, TT)
        write(path.with_suffix(".flac"), steps(path))
        path.unlink()
    cut(path.with_suffix(".flac"))
    return {(Kind.UNREADABLE, at("tt", "s2", TT, ".flac"))}


def other_rate(data):
    places = {at("tr", kind, TR) for kind in KINDS}
    for place in places:
        write(data / place, steps(data / place), 16000)
    return {(Kind.WRONG_RATE, place) for place in places}


def clipped(data):
    one, two = (steps(data / at("tr", kind, TR)) for kind in ("s1", "s2"))
    one[50:53], two[50:53] = -32768, 0
    change(data, "tr", TR, s1=one, s2=two, mix=one + two)
    return {(Kind.CLIPPED, at("tr", kind, TR)) for kind in ("mix", "s1")}


def almost_silent(data):
    one = steps(data / at("tr", "s1", TR))
    two = np.arange(len(one)) % 4  # a peak of 3 steps
    change(data, "tr", TR, s2=two, mix=one + two)
    return {(Kind.SILENT, at("tr", "s2", TR))}


def no_mixtures(data):
    for kind in KINDS:
        for path in (data / ROOT / "cv" / kind).iterdir():
            path.unlink()
    return {(Kind.NO_MIXTURES, f"{ROOT}/cv/mix")}


def missing(data):
    (data / at("tt", "s1", TT)).unlink()
    return {(Kind.MISSING, at("tt", "s1", TT))}


def missing_folder(data):
    shutil.rmtree(data / ROOT / "tt/s2")
    return {(Kind.MISSING, f"{ROOT}/tt/s2")}


def no_sources(data):
    for split in NAMES:
        for kind in ("s1", "s2"):
            shutil.rmtree(data / ROOT / split / kind)
    return {(Kind.MISSING, f"{ROOT}/{split}/s1") for split in NAMES}


def no_split(data):
    """The command train.py refuses it, too."""
    shutil.rmtree(data / ROOT / "tt")
    with refused("tt/mix"):
        find_data_sets(data)[0].rows("test")
    return {(Kind.NO_SPLIT, f"{ROOT}/tt/mix")}


def extra(data):
    (data / at("cv", "mix", CV)).unlink()
    return {(Kind.EXTRA, at("cv", kind, CV)) for kind in ("s1", "s2")}


def same_name(data):
    path = data / at("cv", "mix", CV)
    write(path.with_suffix(".flac"), steps(path))
    return {(Kind.SAME_NAME, at("cv", "mix", CV))}


def unequal(data):
    change(data, "tr", TR, s2=np.arange(4000) % 1000)
    return {(Kind.UNEQUAL, at("tr", "s2", TR))}


def wrong_pairing(data):
    """The second source is that of another mixture of the same length."""
    length = len(steps(data / at("tr", "s2", TR)))
    samples = np.resize(steps(data / at("tt", "s2", TT)), length)
    change(data, "tr", TR, s2=samples)
    return {(Kind.NOT_THE_SUM, at("tr", "mix", TR))}


def off_by_three(data):
    """2.5 steps may be rounding, 3 are not."""
    for name, offset in zip(NAMES["tr"], (2, 3), strict=True):
        mixture = steps(data / at("tr", "mix", name))
        mixture[100] += offset
        change(data, "tr", name, mix=mixture)
    return {(Kind.NOT_THE_SUM, at("tr", "mix", NAMES["tr"][1]))}


def same_sources(data):
    one = steps(data / at("tr", "s1", TR))
    change(data, "tr", TR, s2=one, mix=2 * one)
    return {(Kind.SAME_SOURCES, at("tr", "mix", TR))}


def copy(data, split, name):
    """Copy the first mixture of training under another name."""
    for kind in KINDS:
        place = data / at(split, kind, name)
        shutil.copy(data / at("tr", kind, TR), place)


def duplicate(data):
    # Sorted by name, the copy comes first.
    copy(data, "tr", "20ga0103_1.5_01to0302_-1.5")
    return {(Kind.DUPLICATE, at("tr", "mix", TR))}


def leak(data):
    copy(data, "tt", "445c0208_1_22gc0101_-1")
    return {(Kind.LEAK, at("tt", "mix", "445c0208_1_22gc0101_-1"))}


def leak_by_name(data):
    """Of the same name, but with other samples: made again, say."""
    rename(data, "cv", CV, TR)
    return {(Kind.LEAK, at("cv", "mix", TR))}


def shared_speaker(data):
    rename(data, "tt", TT, "445c0206_0.75_40na010x_-0.75")
    return {(Kind.SHARED_SPEAKER, "speaker 40n")}


def second_microphone(data):
    rename(data, "tr", TR, f"{TR}.wv2")
    return {(Kind.SECOND_MICROPHONE, at("tr", "mix", f"{TR}.wv2"))}


# Those that show in names and counts, or in the samples alone.
BY_NAME = (
    *(no_mixtures, missing, missing_folder, no_sources, extra, same_name),
    *(leak_by_name, shared_speaker, second_microphone, no_split),
)
BY_CONTENT = (
    planted(cut, Kind.UNREADABLE, at("cv", "s2", CV)),
    planted(not_sound, Kind.UNREADABLE, at("cv", "mix", CV)),
    planted(dead_link, Kind.UNREADABLE, at("cv", "s1", CV)),
    planted(empty, Kind.EMPTY, at("tr", "s1", TR)),
    planted(not_finite, Kind.NOT_FINITE, at("tr", "mix", TR)),
    planted(stereo, Kind.STEREO, at("tr", "s2", TR)),
    *(cut_flac, other_rate, clipped, almost_silent, unequal, wrong_pairing),
    *(off_by_three, same_sources, duplicate, leak),
)
