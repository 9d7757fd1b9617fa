"""The data doctor finds what is planted, names it, and finds nothing else."""

import io
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import trees
from examining import command, found, run

import prepare_data
from dpcl_dprnn import doctor_mixtures
from dpcl_dprnn.doctor_files import MixtureTask, check_mixture, is_clipped
from dpcl_dprnn.doctor_listing import name_parts
from dpcl_dprnn.doctor_report import PAGE, Kind, Problem, Report
from dpcl_dprnn.errors import UserError
from dpcl_dprnn.layouts import find_data_sets

ROOT = "wav8k/min"
NAMES = {  # as in wsj0-mix: tr and cv share speakers, tt has others
    "tr": ["40na010x_2.25_01xo031a_-2.25", "20ga010m_0.5_01to030v_-0.5"],
    "cv": ["40na0101_1.5_01xo0301_-1.5", "20ga0101_0.25_40no0301_-0.25"],
    "tt": ["445c0206_0.75_22gc0105_-0.75", "420c020h_1_442c0203_-1"],
}
TR, CV, TT = (names[0] for names in NAMES.values())


@pytest.fixture
def data(tmp_path):
    """A wsj0-mix with two mixtures a split, named like real ones."""
    folder = trees.make_wsj0mix(tmp_path / "data")
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


# Healthy data


LAYOUTS = {
    "wsj0-mix": trees.make_wsj0mix,
    "wsj0-3mix": lambda folder: trees.make_wsj0mix(folder, 3, 16000, "max"),
    "custom": lambda folder: trees.make_custom(folder, suffix=".flac"),
    "WHAM!": trees.make_wham,
    "LibriMix": trees.make_librimix,
    "Libri3Mix": lambda folder: trees.make_librimix(folder, 3),
    "MiniLibriMix": trees.make_mini_librimix,
    "scp": lambda folder: trees.make_scp(folder, folder.with_name("sounds")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_healthy_layouts(tmp_path, capsys, layout):
    data = LAYOUTS[layout](tmp_path / "data")
    status, page = command(capsys, "--data", data)
    assert page.splitlines()[-1] == "OK" and status == 0
    assert found(data) == found(data, quick=True) == set()
    assert len(page.splitlines()) <= PAGE


def test_facts_of_mixtures(data):
    """Closed forms: 18 s each, one source 20 dB under the other."""
    one = np.tile([1000, -1000], 9 * 8000)
    two = np.tile([100, 100, -100, -100], 9 * 4000)
    for split, names in NAMES.items():
        for name in names:
            change(data, split, name, mix=one + two, s1=one, s2=two)
    change(data, "cv", CV, mix=one[:8000] + 99, s1=one[:8000], s2=[100] * 8000)
    report = run(data)
    heading, _, *lines, _ = report.facts
    assert heading == "wav8k/min: 2 speakers, mixtures in mix, 8000 Hz"
    assert [line.split() for line in lines] == [
        "train 2 0.01 18.0/18.0/18.0 4 1.0 to 4.5 20.0 to 20.0 0 LSB".split(),
        "valid 2 0.01 1.0/9.5/18.0 3 0.5 to 3.0 20.0 to 20.0 1 LSB".split(),
        "test 2 0.01 18.0/18.0/18.0 4 1.5 to 2.0 20.0 to 20.0 0 LSB".split(),
    ]
    assert "train and valid share 3 speakers, as in every wsj0-mix" in (
        report.notes
    )
    assert report.notes[0].startswith(
        "smaller than the published wsj0-mix: tr 2 of 20,000, cv 2 of 5,000"
    )


def test_noise_level(tmp_path):
    """Orthogonal sources of powers 64e4 and 36e4 over noise of 100: 40 dB."""
    data = trees.make_wham(tmp_path / "data", mixtures=("mix_both",))
    patterns = {"s1": [800] * 4, "s2": [600, -600] * 2, "n": [10, 10, -10, -10]}
    for number, path in enumerate(sorted(data.rglob("mix_both/*.wav"))):
        signals = {
            # No two are alike.
            kind: np.resize(np.roll(pattern, number), 4000 + 4 * number)
            for kind, pattern in patterns.items()
        }
        signals["mix_both"] = sum(signals.values())
        for kind in ("s1", "s2", "mix_both"):
            place = path.parents[1] / kind / path.name
            soundfile.write(place, signals[kind].astype(np.int16), 8000)
    report = run(data)
    lines = [line for line in report.facts if line.endswith(" 40.0 dB")]
    assert len(lines) == 3 and not report.problems


@pytest.mark.parametrize(
    "name, speakers, gains",
    [
        ("40na010x_1.9857_01xo031a_-1.9857", "40n 01x", [1.9857, -1.9857]),
        ("40na010x_8e-05_01xo031a_-8e-05", "40n 01x", [8e-05, -8e-05]),
        ("4077-13754-0001_5142-33396-0065", "4077 5142", []),
        ("4077-13754-0001_1_5142-33396-0065_-1", "4077 5142", [1, -1]),
        ("test001_002_1.5_test012_003_-1.5", "test001 test012", [1.5, -1.5]),
        ("u_1_2_1.5_v_-1.5", "", [1.5, -1.5]),
        ("0001", "", []),
    ],
)
def test_what_names_tell(name, speakers, gains):
    assert name_parts(name, 2) == (tuple(speakers.split()), tuple(gains))


@pytest.mark.parametrize(
    "samples, wanted",
    [
        ([0, 32767, 32767, 32767], True),
        ([-32768, -32768, -32768], True),
        ([32767, 32767, 0, 32767], False),
        ([32767, -32768, 32767, -32768], False),
        ([32766, 32766, 32766], False),
        ([32767], False),
    ],
)
def test_clipped_is_three_equal_samples_at_full_scale(samples, wanted):
    assert is_clipped(np.array(samples, np.int16)) == wanted
    assert is_clipped(np.array(samples, np.float32)) == wanted


# What is planted in mixtures; each returns the problems to be found.


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


@pytest.mark.parametrize(
    "plant", BY_NAME + BY_CONTENT, ids=lambda plant: plant.__name__
)
def test_planted_fault_is_named(data, capsys, plant):
    wanted = plant(data)
    assert found(data) == wanted
    status, page = command(capsys, "--data", data)
    assert status == 1
    for kind, where in wanted:
        lines = page.splitlines()
        assert any(
            kind.title in line and line.endswith(kind.advice) for line in lines
        )
        name = pathlib.PurePath(where).name
        assert any(line.startswith("    ") and name in line for line in lines)
    assert lines[-1] != "OK"


@pytest.mark.parametrize("plant", BY_NAME, ids=lambda plant: plant.__name__)
def test_quick_finds_what_names_show(data, monkeypatch, plant):
    monkeypatch.setattr(doctor_mixtures, "SAMPLE", 0)
    wanted = plant(data)
    assert found(data, quick=True) == wanted


def test_quick_reads_a_sample(data, monkeypatch):
    """With 1 of 2 mixtures a split, half of the planted faults are found."""
    monkeypatch.setattr(doctor_mixtures, "SAMPLE", 1)
    for path in data.rglob("mix/*.wav"):
        path.write_text("damaged")
    assert len(found(data, quick=True)) == 3
    assert found(data, quick=True) == found(data, quick=True)
    assert len(found(data)) == 6
    assert any("up to 1 mixtures" in n for n in run(data, quick=True).notes)


@pytest.mark.parametrize(
    "count, problems", [(2, []), (3, [Kind.INCOMPLETE]), (30, [])]
)
def test_almost_complete(data, monkeypatch, count, problems):
    """Of 2 or 30 mixtures 2 are all or a choice, of 3 an unfinished copy."""
    monkeypatch.setattr(doctor_mixtures, "ALMOST", 0.6)
    official = {("wsj0-mix", 2): {"tr": 2, "cv": 2, "tt": count}}
    monkeypatch.setattr(doctor_mixtures, "OFFICIAL", official)
    report = run(data)
    assert [p.kind for p in report.problems] == problems
    for problem in report.problems:
        assert problem.where == str(data / ROOT / "tt")
        assert problem.detail == "2 of 3 mixtures"
    smaller = [note for note in report.notes if "tt 2 of 30" in note]
    assert len(smaller) == (count == 30)


def test_notes_are_no_problems(data, capsys):
    (data / ROOT / "tr/mix/.DS_Store").write_bytes(b"junk")
    (data / ROOT / "tr/s1" / f"._{TR}.wav").write_bytes(b"junk")
    (data / ROOT / "tr/s1/notes.txt").write_text("junk")
    status, page = command(capsys, "--data", data)
    assert status == 0 and page.endswith("\nOK\n")
    assert "3 hidden or other files are passed over (.DS_Store, " in page


def test_split_that_a_layout_may_lack(tmp_path, capsys):
    """Of MiniLibriMix, train.py takes the validation split for testing."""
    data = trees.make_mini_librimix(tmp_path / "data")
    assert not (data / "test").exists()
    status, page = command(capsys, "--data", data)
    assert status == 0 and "note: there is no test split" in page


def test_split_that_is_unfinished(data):
    place = data / ROOT / "cv"
    place.rename(place.with_name(".cv-unfinished"))
    (problem,) = run(data).problems
    assert problem.kind is Kind.NO_SPLIT
    assert problem.detail == "unfinished: run the same command again"


@pytest.mark.parametrize("below", ["", "wav8k", "wav8k/min"])
def test_nothing_is_finished(data, below):
    for place in (data / ROOT).iterdir():
        place.rename(place.with_name(f".{place.name}-unfinished"))
    (data / ".decoded-unfinished").mkdir()
    for folder in (data / below, data.parent):
        with pytest.raises(UserError, match="unfinished. Run the same command"):
            run(folder)


def name_in_latin_1(data):
    path = data / ROOT / "tr/s1" / os.fsdecode(b"no\xe9.wav")
    try:
        path.touch()
    except OSError:
        pytest.skip("file names must be UTF-8 here")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_name_that_is_not_utf_8(data, tmp_path, monkeypatch, encoding):
    name_in_latin_1(data)
    (data / ROOT / "tr/s1/größer.wav").touch()
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    listing = tmp_path / "problems.txt"
    words = ["check", "--data", str(data), "--problems", str(listing)]
    assert prepare_data.main(words) == 1
    out.flush()
    page = out.buffer.getvalue().decode(encoding)
    escaped = encoding == "ascii"
    for text, umlauts in (
        (listing.read_text(encoding="utf-8"), "größer"),
        (page, r"gr\xf6\xdfer" if escaped else "größer"),
    ):
        assert r"no\udce9.wav" in text and f"{umlauts}.wav" in text


def test_all_problems_of_a_damaged_set(data, tmp_path, capsys):
    """None hides another; a file gets all names, the page five of a kind."""
    wanted = set()
    for plant in (cut, missing, silent, second_microphone):
        wanted |= plant(data)
    # The silent file was renamed by the last one.
    wanted = {
        (kind, f"{ROOT}/tr/s2/{TR}.wv2.wav" if kind is Kind.SILENT else where)
        for kind, where in wanted
    }
    assert found(data) == wanted
    for number in range(9):
        for split in NAMES:
            (data / ROOT / split / "s1" / f"x{number}.wav").touch()
    listing = tmp_path / "problems.txt"
    status, page = command(capsys, "--data", data, "--problems", listing)
    assert status == 1 and "    and 24 more" not in page
    assert "27 sources without a mixture" in page and " more\n" in page
    assert len(page.splitlines()) <= PAGE
    lines = listing.read_text().splitlines()
    assert len(lines) == 4 + 27
    assert f"{ROOT}/tr/s1/x8.wav: sources without a mixture" in str(lines)
    assert all(line.endswith(".") for line in lines)


# Other layouts


def test_wrong_pairing_despite_noise(tmp_path):
    """Noise hides the sum; a source that is not in the mixture still shows."""
    data = trees.make_wham(tmp_path / "data", mixtures=("mix_both",))
    one, two = sorted((data / ROOT / "tr/s1").iterdir())
    samples = np.resize(steps(two), len(steps(one)))
    soundfile.write(one, samples, 8000)
    name = f"{ROOT}/tr/mix_both/{one.name}"
    assert found(data) == {(Kind.NOT_THE_SUM, name)}


def test_rates_without_a_folder_for_them(tmp_path):
    data = trees.make_custom(tmp_path / "data")
    path = sorted((data / "valid/mixture").iterdir())[1]
    other = sorted((data / "test/source1").iterdir())[0]
    for each in [path, other]:
        soundfile.write(each, steps(each), 11025)
    for kind in ("source1", "source2"):
        each = data / "valid" / kind / path.name
        soundfile.write(each, steps(each), 11025)
    assert found(data) == {
        (Kind.WRONG_RATE, f"valid/mixture/{path.name}"),
        (Kind.WRONG_RATE, f"test/source1/{other.name}"),
    }
    third = sorted((data / "train/mixture").iterdir())[0]
    third.write_text("no sound at a rate of its own")
    kinds = [p.kind for p in run(data).problems if third.name in p.where]
    assert kinds == [Kind.UNREADABLE]


def test_other_rate_is_said_once(data):
    """The folder tells the rate: what most files have does not matter."""
    other_rate(data)
    assert len(run(data).problems) == 3


@pytest.mark.parametrize("pair", [(1, 2), (1, 3), (2, 3)])
def test_same_sources_among_three(tmp_path, pair):
    data = trees.make_wsj0mix(tmp_path / "data", 3)
    place = data / ROOT / "tr"
    name = sorted((place / "mix").iterdir())[0].name
    one, other = (place / f"s{number}" / name for number in pair)
    shutil.copy(one, other)
    total = sum(steps(place / f"s{n}" / name).astype(int) for n in (1, 2, 3))
    soundfile.write(place / "mix" / name, total.astype(np.int16), 8000)
    assert found(data) == {(Kind.SAME_SOURCES, f"{ROOT}/tr/mix/{name}")}


@pytest.mark.parametrize("factor, absent", [(0.6, False), (0.4, True)])
def test_source_is_in_a_noisy_mixture_by_half(tmp_path, factor, absent):
    """The sources are orthogonal, so its factor is what it was mixed with."""
    one, two = np.full(4000, 800), np.tile([600, -600], 2000)
    signals = {"mix": factor * one + two, "s1": one, "s2": two}
    for name, samples in signals.items():
        path = tmp_path / f"{name}.wav"
        soundfile.write(path, samples.astype(np.int16), 8000)
    paths = tuple(str(tmp_path / f"{name}.wav") for name in signals)
    check = check_mixture(MixtureTask(paths, 8000, noisy=True))
    kinds = [problem.kind for problem in check.problems]
    assert kinds == [Kind.NOT_THE_SUM] * absent


def test_metadata_and_folders_differ(tmp_path):
    data = trees.make_librimix(tmp_path / "data", mixtures=("mix_clean",))
    name = sorted((data / ROOT / "dev/s1").iterdir())[0].name
    for kind in ("mix_clean", "s1", "s2"):
        (data / ROOT / "dev" / kind / name).unlink()
        place = data / ROOT / "test" / kind
        shutil.copy(sorted(place.iterdir())[0], place / "new.wav")
    assert found(data) == {
        (Kind.NO_MIXTURE, f"{ROOT}/dev/mix_clean/{name}"),
        # Sorted by name, the copy comes first.
        (Kind.DUPLICATE, f"{ROOT}/test/mix_clean/test0a_0.5_0b_-0.5.wav"),
    }
    (note,) = [note for note in run(data).notes if "metadata" in note]
    assert note.startswith("test has 1 mixtures that its metadata do not list")


def test_broken_list(tmp_path):
    data = trees.make_scp(tmp_path / "data", tmp_path / "sounds")
    with open(data / "cv_s1.scp", "a") as file:
        file.write("other /nowhere/other.wav\n")
    (problem,) = run(data).problems
    assert (problem.kind, problem.where) == (
        Kind.LIST,
        str(data / "cv_mix.scp"),
    )
    assert "cv_s1.scp, line 3" in problem.detail


def test_folder_of_data_sets(tmp_path, capsys):
    """The folder above 2speakers and 3speakers will do."""
    for n_spks in (2, 3):
        trees.make_wsj0mix(tmp_path / "data" / f"{n_spks}speakers", n_spks)
    _, page = command(capsys, "--data", tmp_path / "data")
    assert "2 speakers, " in page and "3 speakers, " in page


def test_nothing_known(tmp_path, capsys):
    with pytest.raises(UserError, match="nowhere is not a folder"):
        run(tmp_path / "nowhere")
    (tmp_path / "readme.txt").write_text("hello")
    with pytest.raises(UserError, match=r"nothing known.* Found readme\.txt\."):
        run(tmp_path)
    assert prepare_data.main(["check", "--data", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("prepare_data.py: error: ")


def test_worker_imports_stay_light():
    """Every process that checks imports these: torch would cost seconds."""
    code = (
        "import sys, dpcl_dprnn.doctor\n"
        "print(sorted({'torch', 'speechbrain', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=pathlib.Path(prepare_data.__file__).parent,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[]\n", done.stderr


def test_processes_find_the_same(data, monkeypatch):
    monkeypatch.setattr(doctor_mixtures, "FEW", 0)
    for plant in (cut, silent):
        plant(data)
    for number in range(20):  # more than a process takes at a time
        for kind in ("mix", "s1", "s2"):
            place = data / ROOT / "tt" / kind
            shutil.copy(place / f"{TT}.wav", place / f"copy{number}.wav")
    assert run(data, jobs=2) == run(data, jobs=1)


# The page


def test_page_shows_few_names_of_each_kind():
    report = Report("mixtures", ["fact"], ["note"])
    report.problems = [
        Problem(Kind.SILENT, f"/data/s/{number}.wav") for number in range(7)
    ]
    report.problems += report.problems  # seen twice, in two data sets
    report.problems.append(Problem(Kind.UNEQUAL, "/data/é.wav", "5 samples"))
    assert report.page("/data").splitlines() == [
        "/data: mixtures",
        "fact",
        "  note: note",
        "8 problems:",
        f"  7 {Kind.SILENT.title}. {Kind.SILENT.advice}",
        *(f"    s/{number}.wav" for number in range(5)),
        "    and 2 more",
        f"  1 {Kind.UNEQUAL.title}. {Kind.UNEQUAL.advice}",
        "    é.wav (5 samples)",
    ]


def test_page_stays_a_page():
    """All kinds at once, many of each: still some name for every kind."""
    report = Report("mixtures", ["fact"] * 6)
    for kind in list(Kind)[:10]:
        report.problems += [Problem(kind, f"{kind}{n}") for n in range(9)]
    lines = report.page("/data").splitlines()
    assert len(lines) <= PAGE
    assert sum(line == "    and 8 more" for line in lines) == 10
