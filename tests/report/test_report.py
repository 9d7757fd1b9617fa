"""The report says what the results say, and needs nothing else."""

import datetime
import json
import math
import re
import shutil

import numpy as np
import pytest
from past_run import (
    FILES,
    Page,
    mean,
    numbers,
    plant_run,
    sound,
    write_csv,
    write_example,
    write_scores,
    write_summary,
)

from dpcl_dprnn.report.files import read_table
from dpcl_dprnn.report.page import write_report

DATE = datetime.date(2024, 2, 29)
COUNT = 12


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with everything: its folder, improvements and page."""
    folder = tmp_path_factory.mktemp("run") / "run"
    gains = plant_run(folder, COUNT, kinds=["best"])
    return folder, gains, Page(write_report(folder, DATE))


@pytest.fixture
def page(run):
    return run[2]


@pytest.fixture
def bare(tmp_path):
    """A run with scores only, to be changed."""
    plant_run(tmp_path / "run", COUNT)
    for name in ("test_set.csv", "test_speakers.csv", "train_log.txt"):
        (tmp_path / "run" / name).unlink()
    return tmp_path / "run"


def test_head_says_what_was_done(page):
    text = page.text()
    assert "written on 2024-02-29" in text
    for fact in ("planted", "/data/planted", "1,234,567", "12 (0.1 minutes)"):
        assert fact in page.paragraphs or fact in text
    assert "loss −18.000, pit –" in page.paragraphs


@pytest.mark.parametrize(
    "head, name",
    [("masks", "mask head"), ("kmeans", "embedding head (k-means)")],
)
def test_scores_of_heads(run, head, name):
    folder, gains, page = run
    assert page.tables["score-table"][0] == [
        "",
        "SI-SNR (dB)",
        "SI-SNRi (dB)",
        "SDR (dB)",
        "SDRi (dB)",
    ]
    rows = read_table(folder / FILES[head], ())
    cells = page.row("score-table", name)
    columns = ("si-snr", "si-snr_i", "sdr", "sdr_i")
    for cell, column in zip(cells, columns, strict=True):
        values = [row[column] for row in rows.values()]
        average, low, high, median, count = numbers(cell.replace("n =", ""))
        assert average == pytest.approx(mean(values), abs=0.0051)
        assert median == pytest.approx(np.median(values), abs=0.0051)
        assert count == COUNT
        # The normal approximation is near the bootstrap's interval.
        half = 1.96 * np.std(values) / math.sqrt(COUNT)
        assert low == pytest.approx(average - half, abs=0.25 * half)
        assert high == pytest.approx(average + half, abs=0.25 * half)
    assert numbers(cells[1])[0] == pytest.approx(mean(gains[head]), abs=0.0051)


def test_scores_of_the_mixture_and_the_ideal_mask(run):
    folder, _, page = run
    rows = read_table(folder / "test_set.csv", ()).values()
    mixture = page.row("score-table", "unprocessed mixture")
    ideal = page.row("score-table", "ideal binary mask")
    for index, expected in (
        (0, [row["si-snr"] for row in rows]),
        (2, [row["sdr"] for row in rows]),
    ):
        assert numbers(mixture[index])[0] == pytest.approx(
            mean(expected), abs=0.0051
        )
    assert mixture[1] == mixture[3] == "–"
    sums = [row["si-snr"] + row["ideal_si-snr_i"] for row in rows]
    assert numbers(ideal[0])[0] == pytest.approx(mean(sums), abs=0.0051)
    gains = [row["ideal_sdr_i"] for row in rows]
    assert numbers(ideal[3])[0] == pytest.approx(mean(gains), abs=0.0051)


def test_heads_are_compared_on_the_same_utterances(run):
    _, gains, page = run
    expected = mean(gains["masks"] - gains["kmeans"])
    assert f"{expected:+.2f} dB".replace("-", "−") in page.text().replace(
        "\xa0", " "
    )


def test_kinds_of_mixtures(run):
    folder, gains, page = run
    test_set = read_table(folder / "test_set.csv", ())
    facts = list(test_set.values())
    for name, chosen in {
        "speakers: 2": [f["num_spks"] == 2 for f in facts],
        "genders: F-M": [f["genders"] == "F-M" for f in facts],
        "level difference: 3 to 4 dB": [
            3 <= f["level_difference"] < 4 for f in facts
        ],
    }.items():
        for head, cell in zip(gains, page.row("groups", name), strict=True):
            found = numbers(cell.replace("n =", ""))
            values = gains[head][np.array(chosen)]
            assert found[0] == pytest.approx(mean(values), abs=0.0051)
            assert found[-1] == len(values) > 0


def test_counting(page):
    assert page.tables["confusion"] == [
        ["", "counted 2", "counted 3"],
        ["true 2", "9", "3"],
    ]
    text = page.text().replace("\xa0", " ")
    # Wilson's interval of 9 of 12, by its closed form
    assert "right for 75.0 % [46.8, 91.1] of 12 mixtures" in text
    assert "where right: 0.75, where wrong: 0.50" in text


def test_failures_are_listed_the_worst_first(run):
    _, gains, page = run
    worst = np.minimum(gains["masks"], gains["kmeans"])
    expected = [f"u{n:02d}" for n in np.argsort(worst) if worst[n] < 0]
    rows = page.tables["failure-table"][1:]
    assert expected and [row[0] for row in rows] == expected
    for row in rows:
        number = int(row[0][1:])
        for place, head in ((1, "masks"), (2, "kmeans")):
            (score,), (least,) = numbers(row[place]), numbers(row[place + 2])
            assert score == pytest.approx(gains[head][number], abs=0.006)
            # One speaker gains 2 dB less than the mean of both.
            assert least == pytest.approx(score - 2, abs=0.011)
    bad = int((gains["masks"] < 0).sum())
    assert f"mask head {bad} of 12" in page.text()


def test_long_lists_of_failures_are_cut(bare):
    gains = np.linspace(-6, -1, 60)
    ids = [f"u{n:02d}" for n in range(60)]
    write_scores(bare, ids, np.tile(gains[:, None], 4))
    page = Page(write_report(bare))
    rows = page.tables["failure-table"][1:]
    assert [row[0] for row in rows] == ids[:50]
    files = "test_results.csv and test_results_kmeans.csv"
    assert f"And 10 more, in {files}." in page.paragraphs


def test_page_refers_to_nothing_outside(run):
    folder, _, page = run
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "poster", "data", "action"):
            value = attributes.get(name, "#")
            assert value.startswith(("data:", "#")), value[:80]
    text = (folder / "report.html").read_text(encoding="utf-8")
    text = re.sub(r'"data:[^"]*"', '""', text)
    assert len(text) < 40_000
    for outside in ("http:", "https:", "file:", "url(", "@import", "//cdn"):
        assert outside not in text
    (policy,) = (m for m in page.all("meta") if "http-equiv" in m)
    assert policy["content"].startswith("default-src 'none'")


def test_pictures_have_words_for_them(page):
    images = page.all("img")
    # 3 distributions; 7 tracks of an example and embeddings; 4 curves.
    assert len(images) == 3 + 8 + 4
    for image in images:
        assert image["src"].startswith("data:image/png;base64,iVBOR")
        assert len(image["alt"]) > 20
        assert int(image["width"]) > 300
    assert len({image["alt"] for image in images}) > 3 + 7


def test_examples_have_players(page):
    assert "Best: u00" in page.paragraphs
    players = page.all("audio")
    assert len(players) == 7
    for player in players:
        assert "controls" in player and player["aria-label"]
        assert len(sound(player["src"])[0]) == 2000


def test_same_input_same_page(run, tmp_path):
    folder, _, _ = run
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "report.html").unlink()
    again = write_report(tmp_path / "copy", DATE)
    assert again.read_bytes() == (folder / "report.html").read_bytes()


def test_names_are_no_markup(bare):
    evil = "<script>alert('x')</script>&\"'>"
    write_scores(bare, [evil, "b"], np.full((2, 4), -1.0))
    summary = json.loads((bare / "summary.json").read_text())
    summary |= {"experiment": evil, "data_folder": evil, evil: "x"}
    (bare / "summary.json").write_text(json.dumps(summary))
    write_example(bare, evil, "best", heads=["masks"])
    page = Page(write_report(bare))
    assert len(page.all("script")) == 1
    assert evil in [row[0] for row in page.tables["failure-table"]]
    assert f"Best: {evil}" in page.paragraphs
    for attributes in page.all("audio"):
        assert attributes["aria-label"].endswith(evil)
        assert set(attributes) == {"controls", "preload", "aria-label", "src"}


@pytest.mark.parametrize("head", FILES)
def test_one_head(head, tmp_path):
    plant_run(tmp_path, heads=[head], kinds=["best"])
    page = Page(write_report(tmp_path))
    assert len(page.tables["score-table"]) == 1 + 3
    assert len(page.all("audio")) == 5
    assert "on the same utterances" not in page.text()


def test_what_is_missing_is_left_out_and_named(bare):
    page = Page(write_report(bare))
    assert set(page.tables) <= {"score-table", "failure-table"}
    names = [row[0] for row in page.tables["score-table"]]
    assert "ideal binary mask" not in names
    assert not page.all("audio")
    for name in (
        "test_set.csv",
        "test_speakers.csv",
        "examples/*.npz",
        "train_log.txt",
    ):
        assert f"There is no {name}" in page.text() or (
            f"There are no {name}" in page.text()
        )
    # The mixture's scores follow from those of the heads.
    rows = read_table(bare / FILES["masks"], ()).values()
    expected = mean([row["si-snr"] - row["si-snr_i"] for row in rows])
    cell = page.row("score-table", "unprocessed mixture")[0]
    assert numbers(cell)[0] == pytest.approx(expected, abs=0.0051)


def test_one_utterance_has_no_interval(bare):
    write_scores(bare, ["a"], np.full((1, 4), 3.5))
    page = Page(write_report(bare))
    assert (
        page.row("score-table", "mask head") == ["3.50 median 3.50 n = 1"] * 4
    )
    assert "failure-table" not in page.tables
    assert "[" not in page.text()


@pytest.mark.parametrize("defined", [0, 2])
def test_undefined_scores_do_not_count(defined, bare):
    scores = np.full((5, 4), np.nan)
    scores[:defined] = np.array([[1.0], [4.0]])[:defined]
    write_scores(bare, "abcde", scores)
    page = Page(write_report(bare))
    cells = page.row("score-table", "mask head")
    if defined:
        assert all("2.50" in cell and "n = 2" in cell for cell in cells)
    else:
        assert cells == ["–"] * 4
        assert "No utterance has a defined SI-SNRi." in page.paragraphs
    assert "different tests" not in page.text()


def test_three_speakers(tmp_path):
    plant_run(tmp_path, 3, num_spks=3, heads=["masks"], kinds=["best"])
    page = Page(write_report(tmp_path))
    assert len(page.all("audio")) == 1 + 2 * 3
    assert "Speaker 3, mask head" in page.paragraphs


def test_files_of_different_tests_are_noticed(tmp_path):
    gains = plant_run(tmp_path)
    write_summary(tmp_path, {head: g + 0.1 for head, g in gains.items()})
    strange = "{} and test_results.csv are of different tests".format
    text = Page(write_report(tmp_path)).text()
    assert strange("summary.json") in text
    assert strange("test_set.csv") not in text
    write_summary(tmp_path, gains)
    facts = (tmp_path / "test_set.csv").read_text().splitlines()
    (tmp_path / "test_set.csv").write_text("\n".join(facts[:-2]))
    speakers = tmp_path / "test_speakers.csv"
    speakers.write_text(speakers.read_text().replace("u01,", "v01,"))
    text = Page(write_report(tmp_path)).text()
    assert strange("summary.json") not in text
    assert strange("test_set.csv") in text
    assert strange("test_speakers.csv") in text


def test_lone_speakers_are_no_failures(tmp_path):
    plant_run(tmp_path, 4)
    scores = np.array([[np.nan] * 4, *[[1.0] * 4] * 3])
    write_scores(tmp_path, "abcd", scores)
    header = "snt_id,num_spks,level_difference,si-snr,sdr".split(",")
    facts = [["a", 1, *[""] * 3], *([i, 2, 1, 0, 0] for i in "bcd")]
    write_csv(tmp_path / "test_set.csv", [header, *facts])
    page = Page(write_report(tmp_path))
    assert "failure-table" not in page.tables
    assert "1 of the test utterances have one speaker only" in page.text()
    assert "they have no score" in page.text()
    assert "n = 3" in page.row("score-table", "unprocessed mixture")[0]
    assert "speakers: 1" not in [row[0] for row in page.tables["groups"]]


def test_perceptual_scores(bare):
    header = "snt_id,sdr,sdr_i,si-snr,si-snr_i,pesq,stoi".split(",")
    rows = [["a", 1, 1, 1, 1, 2.25, 0.875], ["avg", 1, 1, 1, 1, 2.25, 0.875]]
    for file in FILES.values():
        write_csv(bare / file, [header, *rows])
    write_summary(bare, dict.fromkeys(FILES, [1.0]))
    page = Page(write_report(bare))
    assert page.tables["score-table"][0][-2:] == ["PESQ", "STOI"]
    pesq, stoi = page.row("score-table", "mask head")[-2:]
    assert pesq.startswith("2.25") and stoi.startswith("0.875")
    assert page.row("score-table", "unprocessed mixture")[-2:] == ["–", "–"]
