"""The command, and what it says of folders that it cannot read."""

import pytest
from past_run import plant_run

import make_report


@pytest.fixture
def folder(tmp_path):
    plant_run(tmp_path / "run", 3, kinds=["best"])
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


def cut(content):
    return content[: len(content) // 2 - 9]


def replaced(*words):
    return lambda content: content.replace(*map(str.encode, words), 1)


@pytest.mark.parametrize(
    "name, change, words",
    [
        ("summary.json", None, "is not the output folder of a run"),
        ("summary.json", cut, "Cannot read"),
        ("summary.json", replaced('"heads"', '"h"'), "names none of the heads"),
        ("test_results.csv", None, "csv: No such file or directory"),
        ("test_results.csv", replaced(",sdr_i", ""), "it has no column sdr_i"),
        (
            "test_set.csv",
            replaced("u01,0.25,2,", "u01,"),
            "line 3 has 9 cells, not 11",
        ),
        ("test_set.csv", replaced("u01,0.25,2,", "u01,0.25,two,"), "'two'"),
        ("test_set.csv", lambda _: b"snt_id\n\xff\xfe", "'utf-8' codec"),
        ("test_speakers.csv", cut, " cells, not 6"),
        ("examples/best.npz", cut, "best.npz: File is not a zip file"),
        ("examples/best.npz", replaced("rate.npy", "ETAR.npy"), "best.npz: "),
    ],
)
def test_one_line_says_what_is_wrong(name, change, words, folder, capsys):
    (folder / "report.html").write_text("of before")
    path = folder / name
    if change is None:
        path.unlink()
    else:
        content = change(path.read_bytes())
        assert content != path.read_bytes()
        path.write_bytes(content)
    check_error(folder, words, capsys)


def check_error(folder, words, capsys):
    assert make_report.main([str(folder)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("make_report.py: error: ")
    assert str(folder) in line and words in line
    assert line.endswith(("or test first.", "--test_only ..."))
    assert (folder / "report.html").read_text() == "of before"


def test_no_utterance(folder, capsys):
    (folder / "report.html").write_text("of before")
    for path in folder.glob("test_results*.csv"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join([lines[0], lines[-1]]))
    check_error(folder, "has no score of any utterance", capsys)


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
