"""The command, and what it says of folders that it cannot read."""

import json

import numpy as np
import pytest
from past_run import plant_run, signals, write_example

import make_report


@pytest.fixture
def folder(tmp_path):
    plant_run(tmp_path / "run", 3)
    return tmp_path / "run"


def test_a_report_in_each_folder(tmp_path, caplog):
    caplog.set_level("INFO")
    folders = [str(tmp_path / name) for name in "ab"]
    for each in folders:
        plant_run(tmp_path / each, 3)
    assert make_report.main(folders) == 0
    for each in folders:
        assert (tmp_path / each / "report.html").stat().st_size > 50_000
        assert f"The report is in {each}/report.html" in caplog.text


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def no_summary(folder):
    (folder / "summary.json").unlink()
    return "summary.json is missing", "is not the output folder of a run"


def broken_summary(folder):
    (folder / "summary.json").write_text('{"heads": ')
    return "Cannot read", "summary.json: Expecting value"


def summary_without_heads(folder):
    (folder / "summary.json").write_text(json.dumps({"heads": {"x": 1}}))
    return ("summary.json names none of the heads masks and kmeans",)


def summary_of_another_kind(folder):
    (folder / "summary.json").write_text("[]")
    return ("summary.json names none of the heads",)


def no_results(folder):
    (folder / "test_results.csv").unlink()
    return "Cannot read", "test_results.csv: No such file or directory"


def empty_results(folder):
    (folder / "test_results.csv").write_text("")
    return ("test_results.csv has no column snt_id",)


def no_utterance(folder):
    for path in folder.glob("test_results*.csv"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], lines[-1]]))
    return ("has no score of any utterance",)


def missing_column(folder):
    replace(folder / "test_results.csv", "sdr_i", "sdr-i")
    return ("test_results.csv has no column sdr_i",)


def short_row(folder):
    path = folder / "test_results_kmeans.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], lines[2][:12], *lines[3:]]))
    return ("test_results_kmeans.csv, line 3: 2 cells, not 5",)


def words(folder):
    replace(folder / "test_set.csv", "\nu01,0.25,2,", "\nu01,0.25,two,")
    return ("test_set.csv, line 3: 'two' is no number",)


def not_text(folder):
    (folder / "test_set.csv").write_bytes(b"snt_id\n\xff\xfe")
    return "Cannot read", "test_set.csv: 'utf-8' codec"


def not_an_archive(folder):
    (folder / "examples").mkdir()
    (folder / "examples" / "best.npz").write_bytes(b"nonsense")
    return "Cannot read", "best.npz"


def cut_archive(folder):
    path = write_example(folder, "a", "best")
    path.write_bytes(path.read_bytes()[:3000])
    return "Cannot read", "best.npz: File is not a zip file"


def archive_with_objects(folder):
    objects = np.array([{"a": 1}], dtype=object)
    write_example(folder, "a", "best", mixture=objects)
    return "Cannot read", "best.npz: Object arrays cannot be loaded"


def incomplete_archive(folder):
    (folder / "examples").mkdir()
    np.savez(folder / "examples" / "best.npz", name="a", kind="best")
    return "Cannot read", "best.npz", "rate"


def other_length(folder):
    write_example(folder, "a", "best", masks=signals(length=1999))
    return ("best.npz: its signals differ in length or number",)


def other_number(folder):
    write_example(folder, "a", "best", kmeans=signals(3))
    return ("best.npz: its signals differ in length or number",)


def summary_with(value):
    """Spoil the summary's scores of the mask head, or its losses."""

    def spoil(folder):
        path = folder / "summary.json"
        summary = json.loads(path.read_text())
        if "losses" in value:
            summary |= value
            what = "losses"
        else:
            summary["heads"] |= value
            what = "heads, masks"
        path.write_text(json.dumps(summary))
        return (f"summary.json: {what}",)

    return spoil


def score_out_of_range(folder):
    (folder / "test_results.csv").write_text(
        "snt_id,sdr,sdr_i,si-snr,si-snr_i\nu00,1,1,1,1e308\n"
    )
    return ("test_results.csv, line 2: 1e308 is out of range",)


def words_of_a_speaker(folder):
    path = folder / "test_speakers.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:-1], lines[-1] + "x"]))
    return "test_speakers.csv, line 7", "is no number"


def fractions_of_speakers(folder):
    write_example(folder, "a", "best", speakers=np.full(200, 0.5))
    return ("best.npz: its embeddings have to be real, and its speakers",)


def mixture_of_words(folder):
    write_example(folder, "a", "best", mixture=np.full(2000, "x"))
    return ("best.npz: its signals are no real numbers",)


@pytest.mark.parametrize(
    "spoil",
    [
        no_summary,
        broken_summary,
        summary_without_heads,
        summary_of_another_kind,
        no_results,
        empty_results,
        no_utterance,
        missing_column,
        short_row,
        words,
        not_text,
        not_an_archive,
        cut_archive,
        archive_with_objects,
        incomplete_archive,
        other_length,
        other_number,
        summary_with({"masks": None}),
        summary_with({"masks": {"si-snr_i": 3}}),
        summary_with({"masks": {"si-snr_i": {"mean": "x"}}}),
        summary_with({"masks": {"si-snr_i": {"mean": 10**400}}}),
        summary_with({"losses": [1, 2]}),
        summary_with({"losses": {"loss": "x"}}),
        score_out_of_range,
        words_of_a_speaker,
        fractions_of_speakers,
        mixture_of_words,
    ],
)
def test_one_line_says_what_is_wrong(spoil, folder, capsys):
    (folder / "report.html").write_text("of before")
    expected = spoil(folder)
    assert make_report.main([str(folder)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("make_report.py: error: ")
    assert str(folder) in line
    for words in expected:
        assert words in line
    assert line.endswith((".", "..."))
    assert (folder / "report.html").read_text() == "of before"


def test_page_that_cannot_be_written(folder, capsys):
    (folder / "report.html").mkdir()
    assert make_report.main([str(folder)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "error: Cannot write" in line and "report.html" in line


def test_no_folder_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as stop:
        make_report.main([])
    assert stop.value.code == 2
    assert "OUTPUT" in capsys.readouterr().err.upper()
