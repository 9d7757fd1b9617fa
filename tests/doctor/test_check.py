"""The data doctor finds what is planted, names it, and finds nothing else."""

import io
import os
import shutil
import sys

import numpy as np
import planting
import pytest
import trees
from examining import command, found, page_naming, run
from planting import BY_CONTENT, BY_NAME, CV, NAMES, ROOT, TR, at, steps, write
from refusals import refused

import prepare_data
from dpcl_dprnn.doctor import examiner, mixtures
from dpcl_dprnn.doctor.files import Task, check_files, is_clipped
from dpcl_dprnn.doctor.report import PAGE, Kind, Problem, Report

# Healthy data


@pytest.fixture
def data(tmp_path):
    return planting.make_data(tmp_path / "data")


@pytest.mark.parametrize("layout", trees.MAKERS)
def test_healthy_layouts(tmp_path, capsys, layout):
    data = trees.MAKERS[layout](tmp_path / "data")
    status, page = command(capsys, "--data", data)
    assert page.splitlines()[-1] == "OK" and status == 0
    assert found(data) == found(data, quick=True) == set()
    assert len(page.splitlines()) <= PAGE
    # Of MiniLibriMix, train.py takes the validation split for testing.
    assert ("there is no test split" in page) == (layout == "MiniLibriMix")


def test_facts_of_mixtures(data):
    """Closed forms: 18 s each, one source 20 dB under the other."""
    one = np.tile([1000, -1000], 9 * 8000)
    two = np.tile([100, 100, -100, -100], 9 * 4000)
    for split, names in NAMES.items():
        for name in names:
            planting.change(data, split, name, mix=one + two, s1=one, s2=two)
    planting.change(
        data, "cv", CV, mix=one[:8000] + 99, s1=one[:8000], s2=[100] * 8000
    )
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
            write(path.parents[1] / kind / path.name, signals[kind])
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
    wanted = tuple(speakers.split()), tuple(gains)
    assert mixtures.name_parts(name, 2) == wanted


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


@pytest.mark.parametrize(
    "plant", BY_NAME + BY_CONTENT, ids=lambda plant: plant.__name__
)
def test_planted_fault_is_named(data, capsys, plant):
    wanted = plant(data)
    assert found(data) == wanted
    page_naming(wanted, capsys, "--data", data)


@pytest.mark.parametrize("plant", BY_NAME, ids=lambda plant: plant.__name__)
def test_quick_finds_what_names_show(data, monkeypatch, plant):
    monkeypatch.setattr(mixtures, "SAMPLE", 0)
    wanted = plant(data)
    assert found(data, quick=True) == wanted


def test_quick_reads_a_sample(data, monkeypatch):
    """With 1 of 2 mixtures a split, half of the planted faults are found."""
    monkeypatch.setattr(mixtures, "SAMPLE", 1)
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
    monkeypatch.setattr(examiner, "ALMOST", 0.6)
    official = {("wsj0-mix", 2): {"tr": 2, "cv": 2, "tt": count}}
    monkeypatch.setattr(mixtures, "OFFICIAL", official)
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
        with refused("unfinished. Run the same command"):
            run(folder)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_name_that_is_not_utf_8(data, tmp_path, monkeypatch, encoding):
    try:
        (data / ROOT / "tr/s1" / os.fsdecode(b"no\xe9.wav")).touch()
    except OSError:
        pytest.skip("file names must be UTF-8 here")
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
    for plant in (
        *(BY_CONTENT[0], planting.missing),
        *(planting.almost_silent, planting.second_microphone),
    ):
        wanted |= plant(data)
    # The silent file was renamed by the last one.
    wanted.remove((Kind.SILENT, at("tr", "s2", TR)))
    wanted.add((Kind.SILENT, at("tr", "s2", f"{TR}.wv2")))
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
    write(one, np.resize(steps(two), len(steps(one))))
    name = f"{ROOT}/tr/mix_both/{one.name}"
    assert found(data) == {(Kind.NOT_THE_SUM, name)}


def test_rates_without_a_folder_for_them(tmp_path):
    data = trees.make_custom(tmp_path / "data")
    path = sorted((data / "valid/mixture").iterdir())[1]
    other = sorted((data / "test/source1").iterdir())[0]
    sources = [data / f"valid/source{n}" / path.name for n in (1, 2)]
    for each in [path, other, *sources]:
        write(each, steps(each), 11025)
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
    planting.other_rate(data)
    assert len(run(data).problems) == 3


@pytest.mark.parametrize("pair", [(1, 2), (1, 3), (2, 3)])
def test_same_sources_among_three(tmp_path, pair):
    data = trees.make_wsj0mix(tmp_path / "data", 3)
    place = data / ROOT / "tr"
    name = sorted((place / "mix").iterdir())[0].name
    one, other = (place / f"s{number}" / name for number in pair)
    shutil.copy(one, other)
    total = sum(steps(place / f"s{n}" / name).astype(int) for n in (1, 2, 3))
    write(place / "mix" / name, total)
    assert found(data) == {(Kind.SAME_SOURCES, f"{ROOT}/tr/mix/{name}")}


@pytest.mark.parametrize("factor, absent", [(0.6, False), (0.4, True)])
def test_source_is_in_a_noisy_mixture_by_half(tmp_path, factor, absent):
    """The sources are orthogonal, so its factor is what it was mixed with."""
    one, two = np.full(4000, 800), np.tile([600, -600], 2000)
    signals = {"mix": factor * one + two, "s1": one, "s2": two}
    paths = tuple(str(tmp_path / f"{name}.wav") for name in signals)
    for path, samples in zip(paths, signals.values(), strict=True):
        write(path, samples)
    check = check_files(Task(paths, 8000, noisy=True))
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
    assert found(data) == {(Kind.LIST, "cv_mix.scp")}
    assert "cv_s1.scp, line 3" in run(data).problems[0].detail


def test_folder_of_data_sets(tmp_path, capsys):
    """The folder above 2speakers and 3speakers will do."""
    for n_spks in (2, 3):
        trees.make_wsj0mix(tmp_path / "data" / f"{n_spks}speakers", n_spks)
    _, page = command(capsys, "--data", tmp_path / "data")
    assert "2 speakers, " in page and "3 speakers, " in page


def test_nothing_known(tmp_path, capsys):
    with refused("nowhere is not a folder"):
        run(tmp_path / "nowhere")
    (tmp_path / "readme.txt").write_text("hello")
    with refused(r"nothing known.* Found readme\.txt\."):
        run(tmp_path)
    assert prepare_data.main(["check", "--data", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("prepare_data.py: error: ")


def test_processes_find_the_same(data, monkeypatch):
    monkeypatch.setattr(examiner, "FEW", 0)
    planting.cut(data / at("cv", "s2", CV))
    planting.almost_silent(data)
    for number in range(20):  # more than a process takes at a time
        planting.copy(data, "tt", f"copy{number}")
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
