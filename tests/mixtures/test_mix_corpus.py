"""Folders of speakers become mixtures: by the rule, whole, and repeatable."""

import json

import numpy as np
import pytest
import scipy.signal
import soundfile
from refusals import refused
from shorten import write_speech
from test_mixing import burst, check_within_half_a_step, rule
from wsj0_tree import contents, stamps

from dpcl_dprnn.mixtures.lists import format_mixture, mixture_name, read_list
from dpcl_dprnn.mixtures.sets import mix_corpus
from dpcl_dprnn.sound.rumble import without_rumble
from dpcl_dprnn.speech.levels import active_level

COUNTS = {"tr": 6, "cv": 3, "tt": 3}
KINDS = ("s1", "s2", "s3")


def make_speech(folder, speakers, rate=8000, suffix=".wav"):
    """Each speaker has a dull utterance of 0.6 s and a bright one of 0.7 s."""
    for number, speaker in enumerate(speakers):
        for index in range(2):
            samples = burst(number * 10 + index, 0.6 + 0.1 * index, rate)
            samples[1:] += (0.9, -0.9)[index] * samples[:-1]
            samples *= 0.9 / np.abs(samples).max() / (1 + number)
            path = folder / speaker / f"u{number}_{index}{suffix}"
            write_speech(path, samples, rate)
    return folder


@pytest.fixture
def flat(tmp_path):
    names = [f"p{n:02}" for n in range(9)]
    return make_speech(tmp_path / "Sprecher, größer", names)


@pytest.fixture
def mix(flat, tmp_path):
    """Mix the speech into a folder."""

    def mix(speech=flat, out=tmp_path, **options):
        options = {"counts": COUNTS, "jobs": 1, **options}
        return mix_corpus(speech, out, **options)

    return mix


@pytest.mark.parametrize("n_spks, mode", [(2, "min"), (3, "max")])
def test_corpus_files_agree_with_its_lists(mix, flat, tmp_path, n_spks, mode):
    out, made = mix(n_spks=n_spks, mode=mode)
    assert out == tmp_path / f"{n_spks}speakers" and made
    for split, count in COUNTS.items():
        text = out / f"mix_{n_spks}_spk_{split}.txt"
        mixtures = read_list(text, n_spks)
        lines = [format_mixture(m) + "\n" for m in mixtures]
        assert len(lines) == count and text.read_text() == "".join(lines)
        folder = out / "wav8k" / mode / split
        names = sorted(f"{mixture_name(m)}.wav" for m in mixtures)
        for kind in ("mix", *KINDS[:n_spks]):
            assert sorted(p.name for p in (folder / kind).iterdir()) == names
        for mixture in mixtures:
            check_mixture(flat, folder, mixture, mode)


def check_mixture(speech, folder, mixture, mode, rate=8000):
    name = f"{mixture_name(mixture)}.wav"
    kinds = ("mix", *KINDS[: len(mixture)])
    mixed, *sources = (
        soundfile.read(folder / kind / name, dtype="int16") for kind in kinds
    )
    assert {written for _, written in (mixed, *sources)} == {rate}
    originals = [read(speech / path, rate) for path, _ in mixture]
    length = (min if mode == "min" else max)(map(len, originals))
    # Levels are always those at 8 kHz.
    levels = [active_level(read(speech / p, 8000), 8000) for p, _ in mixture]
    exact = rule(originals, levels, [gain for _, gain in mixture], length)
    check_within_half_a_step(mixed[0], exact[0])
    check_within_half_a_step(np.stack([s for s, _ in sources]), exact[1])


def read(path, wanted):
    samples, rate = soundfile.read(path)
    if rate != wanted:
        samples = scipy.signal.resample_poly(samples, wanted, rate)
    return without_rumble(samples, wanted)


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_levels_are_those_at_8_khz(mix, tmp_path, rate, suffix):
    """Dull and bright speech at 16 kHz differ by what 8 kHz cannot hold."""
    names = [f"p{number}" for number in range(6)]
    speech = make_speech(tmp_path / "wide", names, 16000, suffix)
    dull, bright = (
        [
            active_level(read(speech / f"p0/u0_{n}{suffix}", r), r)
            for r in (8000, 16000)
        ]
        for n in range(2)
    )
    assert bright[1] / bright[0] > 4 * dull[1] / dull[0]
    out, _ = mix(speech, rate=rate)
    for split in COUNTS:
        for mixture in read_list(out / f"mix_2_spk_{split}.txt"):
            folder = out / f"wav{rate // 1000}k" / "min" / split
            check_mixture(speech, folder, mixture, "min", rate)


def test_same_seed_same_bytes(mix, tmp_path):
    outs = [
        contents(mix(out=tmp_path / name, seed=seed)[0])
        for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    ]
    assert outs[0] == outs[1]
    assert len(outs[0]) == 3 + 3 + 3 * 12
    assert not set(outs[0].values()) & set(outs[2].values())


def test_one_splits_size_does_not_change_the_others(mix, tmp_path):
    lists = []
    for name, count in (("a", 6), ("b", 4)):
        out, _ = mix(out=tmp_path / name, counts={**COUNTS, "tr": count})
        lists.append([(out / f"mix_2_spk_{s}.txt").read_text() for s in COUNTS])
    assert lists[0][1:] == lists[1][1:]
    assert lists[0][0].startswith(lists[1][0])


def test_same_request_is_reused(mix):
    out, made = mix()
    before = stamps(out.rglob("*.*"))
    assert made and len(before) == 3 + 3 + 36
    assert mix() == (out, False)
    assert stamps(out.rglob("*.*")) == before


def lengthen_an_utterance(flat):
    for path in flat.rglob("*_0.wav"):
        soundfile.write(path, burst(0, 0.9), 8000)


@pytest.mark.parametrize(
    "options, change",
    [
        ({"seed": 2}, None),
        ({"counts": {**COUNTS, "tr": 7}}, None),
        ({}, lengthen_an_utterance),
    ],
)
def test_another_request_is_refused(mix, flat, options, change):
    out, _ = mix()
    before = contents(out)
    if change:
        change(flat)
    with refused("is already there, with other"):
        mix(**options)
    assert contents(out) == before


def test_other_rate_and_mode_go_beside(mix):
    """The mixtures are the same ones, so the lists stay true."""
    out, _ = mix()
    before = contents(out)
    for options in ({"mode": "max"}, {"rate": 16000}):
        with refused("already there, with other"):
            mix(**options, seed=2)
        assert contents(out) == before
    for options in ({"mode": "max"}, {"rate": 16000}):
        assert mix(**options) == (out, True)
    after = contents(out)
    assert {name: after[name] for name in before} == before
    assert len(after) == 3 + 3 * (3 + 3 * 12)


def test_folder_of_someone_elses_is_refused(mix, tmp_path):
    theirs = tmp_path / "2speakers/wav8k/min/cv/mix/theirs.wav"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("precious")
    with refused("min/cv is already there"):
        mix()
    assert contents(tmp_path / "2speakers") == {
        "wav8k/min/cv/mix/theirs.wav": b"precious"
    }


@pytest.mark.parametrize("jobs", [1, 2])
def test_silent_utterance_is_named(mix, flat, tmp_path, jobs):
    """No split shows; without the file, the next run makes them all."""
    for path in flat.rglob("*_0.wav"):
        soundfile.write(path, np.zeros(8000), 8000)
    with refused(r"p\d\d/u\d_0\.wav is silent"):
        mix(jobs=jobs)
    folder = tmp_path / "2speakers" / "wav8k" / "min"
    assert not any((folder / split).exists() for split in COUNTS)
    for path in flat.rglob("*_0.wav"):
        path.unlink()
    assert mix(jobs=jobs) == (tmp_path / "2speakers", True)
    assert {p.name for p in folder.iterdir()} == set(COUNTS)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_spks": 1}, "n_spks is 1"),
        ({"n_spks": 4}, "too few speakers: 9 folders"),
        ({"rate": 0}, "rate is 0"),
        ({"mode": "mean"}, "mode is 'mean'"),
        ({"jobs": 0}, "jobs is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"counts": {"cv": 0}}, "cv is to have 0 mixtures"),
        ({"counts": {"dev": 3}}, "dev is to have 3 mixtures"),
    ],
)
def test_bad_options(mix, tmp_path, options, message):
    with refused(message):
        mix(out=tmp_path / "o", **options)
    assert not (tmp_path / "o").exists()


def test_record_says_what_a_split_is_made_of(mix):
    out, _ = mix(mode="max")
    for split, count in COUNTS.items():
        path = out / "wav8k" / "max" / split / "mixtures.json"
        record = json.loads(path.read_text())
        assert len(record.pop("sha256")) == 64
        assert record == {
            **{"split": split, "rate": 8000, "mode": "max"},
            "mixtures": count,
        }
