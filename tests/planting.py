"""A healthy wsj0-mix, and faults to plant in it for the data doctor."""

import os
import shutil

import numpy as np
import pytest
import soundfile
import trees

from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.datasets.data_sets import find_data_sets
from dpcl_dprnn.doctor.report import Kind

ROOT = "wav8k/min"
NAMES = {  # as in wsj0-mix: tr and cv share speakers, tt has others
    "tr": ["40na010x_2.25_01xo031a_-2.25", "20ga010m_0.5_01to030v_-0.5"],
    "cv": ["40na0101_1.5_01xo0301_-1.5", "20ga0101_0.25_40no0301_-0.25"],
    "tt": ["445c0206_0.75_22gc0105_-0.75", "420c020h_1_442c0203_-1"],
}
TR, CV, TT = (names[0] for names in NAMES.values())


def make_data(folder):
    """A wsj0-mix with two mixtures a split, named like real ones."""
    folder = trees.make_wsj0mix(folder)
    for split, names in NAMES.items():
        for kind in ("mix", "s1", "s2"):
            paths = sorted((folder / ROOT / split / kind).iterdir())
            for path, name in zip(paths, names, strict=True):
                path.rename(path.with_name(f"{name}.wav"))
    return folder


def steps(path):
    return soundfile.read(path, dtype="int16")[0]


def change(data, split, name, **signals):
    """Write other samples to some files of a mixture."""
    for kind, samples in signals.items():
        path = data / ROOT / split / kind / f"{name}.wav"
        soundfile.write(path, np.asarray(samples, np.int16), 8000)


def cut(data):
    path = data / ROOT / "cv/s2" / f"{CV}.wav"
    path.write_bytes(path.read_bytes()[:5000])
    return {(Kind.UNREADABLE, f"{ROOT}/cv/s2/{CV}.wav")}


def not_sound(data):
    (data / ROOT / "cv/mix" / f"{CV}.wav").write_text("hello")
    return {(Kind.UNREADABLE, f"{ROOT}/cv/mix/{CV}.wav")}


def dead_link(data):
    path = data / ROOT / "cv/s1" / f"{CV}.wav"
    path.unlink()
    path.symlink_to("nothing")
    return {(Kind.UNREADABLE, f"{ROOT}/cv/s1/{CV}.wav")}


def cut_flac(data):
    for kind in ("mix", "s1", "s2"):
        path = data / ROOT / "tt" / kind / f"{TT}.wav"
        soundfile.write(path.with_suffix(".flac"), steps(path), 8000)
        path.unlink()
    path = path.with_suffix(".flac")
    path.write_bytes(path.read_bytes()[:4000])
    return {(Kind.UNREADABLE, f"{ROOT}/tt/s2/{TT}.flac")}


def empty(data):
    change(data, "tr", TR, s1=[])
    return {(Kind.EMPTY, f"{ROOT}/tr/s1/{TR}.wav")}


def not_finite(data):
    path = data / ROOT / "tr/mix" / f"{TR}.wav"
    samples = steps(path) / 32768
    samples[7] = np.nan
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    return {(Kind.NOT_FINITE, f"{ROOT}/tr/mix/{TR}.wav")}


def stereo(data):
    path = data / ROOT / "tr/s2" / f"{TR}.wav"
    soundfile.write(path, np.stack([steps(path)] * 2, axis=1), 8000)
    return {(Kind.STEREO, f"{ROOT}/tr/s2/{TR}.wav")}


def other_rate(data):
    for kind in ("mix", "s1", "s2"):
        path = data / ROOT / "tr" / kind / f"{TR}.wav"
        soundfile.write(path, steps(path), 16000)
    return {
        (Kind.WRONG_RATE, f"{ROOT}/tr/{kind}/{TR}.wav")
        for kind in ("mix", "s1", "s2")
    }


def clipped(data):
    one, two = (
        steps(data / ROOT / "tr" / s / f"{TR}.wav") for s in ("s1", "s2")
    )
    one[50:53], two[50:53] = -32768, 0
    change(data, "tr", TR, s1=one, s2=two, mix=one + two)
    return {
        (Kind.CLIPPED, f"{ROOT}/tr/mix/{TR}.wav"),
        (Kind.CLIPPED, f"{ROOT}/tr/s1/{TR}.wav"),
    }


def silent(data):
    one = steps(data / ROOT / "tr/s1" / f"{TR}.wav")
    two = np.arange(len(one)) % 4  # a peak of 3 steps
    change(data, "tr", TR, s2=two, mix=one + two)
    return {(Kind.SILENT, f"{ROOT}/tr/s2/{TR}.wav")}


def no_mixtures(data):
    for kind in ("mix", "s1", "s2"):
        for path in (data / ROOT / "cv" / kind).iterdir():
            path.unlink()
    return {(Kind.NO_MIXTURES, f"{ROOT}/cv/mix")}


def missing(data):
    (data / ROOT / "tt/s1" / f"{TT}.wav").unlink()
    return {(Kind.MISSING, f"{ROOT}/tt/s1/{TT}.wav")}


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
    with pytest.raises(UserError, match="tt/mix"):
        find_data_sets(data)[0].rows("test")
    return {(Kind.NO_SPLIT, f"{ROOT}/tt/mix")}


def extra(data):
    (data / ROOT / "cv/mix" / f"{CV}.wav").unlink()
    return {(Kind.EXTRA, f"{ROOT}/cv/{kind}/{CV}.wav") for kind in ("s1", "s2")}


def same_name(data):
    path = data / ROOT / "cv/mix" / f"{CV}.wav"
    soundfile.write(path.with_suffix(".flac"), steps(path), 8000)
    return {(Kind.SAME_NAME, f"{ROOT}/cv/mix/{CV}.wav")}


def unequal(data):
    change(data, "tr", TR, s2=np.arange(4000) % 1000)
    return {(Kind.UNEQUAL, f"{ROOT}/tr/s2/{TR}.wav")}


def wrong_pairing(data):
    """The second source is that of another mixture of the same length."""
    other = data / ROOT / "tt/s2" / f"{TT}.wav"
    path = data / ROOT / "tr/s2" / f"{TR}.wav"
    samples = np.resize(steps(other), len(steps(path)))
    change(data, "tr", TR, s2=samples)
    return {(Kind.NOT_THE_SUM, f"{ROOT}/tr/mix/{TR}.wav")}


def off_by_three(data):
    """2.5 steps may be rounding, 3 are not."""
    for name, offset in zip(NAMES["tr"], (2, 3), strict=True):
        mixture = steps(data / ROOT / "tr/mix" / f"{name}.wav")
        mixture[100] += offset
        change(data, "tr", name, mix=mixture)
    return {(Kind.NOT_THE_SUM, f"{ROOT}/tr/mix/{NAMES['tr'][1]}.wav")}


def same_sources(data):
    one = steps(data / ROOT / "tr/s1" / f"{TR}.wav")
    change(data, "tr", TR, s2=one, mix=2 * one)
    return {(Kind.SAME_SOURCES, f"{ROOT}/tr/mix/{TR}.wav")}


def copied(data, source, split):
    """Copy the first mixture of training under another name."""
    name = {"tr": "20ga0103_1.5_01to0302_-1.5", "tt": "445c0208_1_22gc0101_-1"}
    for kind in ("mix", "s1", "s2"):
        place = data / ROOT / split / kind / f"{name[split]}.wav"
        shutil.copy(data / ROOT / "tr" / kind / f"{source}.wav", place)
    return f"{ROOT}/{split}/mix/{name[split]}.wav"


def duplicate(data):
    # Sorted by name, the copy comes first.
    copied(data, TR, "tr")
    return {(Kind.DUPLICATE, f"{ROOT}/tr/mix/{TR}.wav")}


def leak(data):
    return {(Kind.LEAK, copied(data, TR, "tt"))}


def leak_by_name(data):
    """Of the same name, but with other samples: made again, say."""
    for kind in ("mix", "s1", "s2"):
        place = data / ROOT / "cv" / kind
        (place / f"{CV}.wav").rename(place / f"{TR}.wav")
    return {(Kind.LEAK, f"{ROOT}/cv/mix/{TR}.wav")}


def shared_speaker(data):
    for kind in ("mix", "s1", "s2"):
        place = data / ROOT / "tt" / kind
        path = place / f"{TT}.wav"
        path.rename(place / "445c0206_0.75_40na010x_-0.75.wav")
    pairs = {(Kind.SHARED_SPEAKER, "speaker 40n")}
    return {(kind, os.path.relpath(who, data)) for kind, who in pairs}


def second_microphone(data):
    for kind in ("mix", "s1", "s2"):
        place = data / ROOT / "tr" / kind
        (place / f"{TR}.wav").rename(place / f"{TR}.wv2.wav")
    return {(Kind.SECOND_MICROPHONE, f"{ROOT}/tr/mix/{TR}.wv2.wav")}


# Those that show in names and counts, or in the samples alone.
BY_NAME = (
    *(no_mixtures, missing, missing_folder, no_sources, extra, same_name),
    *(leak_by_name, shared_speaker, second_microphone, no_split),
)
BY_CONTENT = (
    *(cut, not_sound, dead_link, cut_flac, empty, not_finite, stereo),
    *(other_rate, clipped, silent, unequal, wrong_pairing, off_by_three),
    *(same_sources, duplicate, leak),
)
