"""Each speaker's improvement is in the class of its level."""

import pytest
from past_run import Page, mean, numbers, plant_run

from dpcl_dprnn.report.files import OF_SPEAKERS, read_rows
from dpcl_dprnn.report.page import write_report
from dpcl_dprnn.report.tables import speaker_context

COUNT = 12


def test_speakers_by_their_level_in_the_mixture(tmp_path):
    gains = plant_run(tmp_path, COUNT)
    page = Page(write_report(tmp_path))
    rows = read_rows(tmp_path / "test_speakers.csv", OF_SPEAKERS)
    names = [row[0] for row in page.tables["speakers"][1:]]
    counted = 0
    for name in names:
        kind, label = name.split(": ")
        if kind == "speaker":
            chosen = [row for row in rows if row["group"] == label]
        else:
            low, high = numbers(label)
            chosen = [row for row in rows if low <= row["si-snr"] < high]
            counted += len(chosen)
        for head, cell in zip(gains, page.row("speakers", name), strict=True):
            values = [row[f"{head}_si-snr_i"] for row in chosen]
            found = numbers(cell.replace("n =", ""))
            assert found[0] == pytest.approx(mean(values), abs=0.0051)
            assert found[-1] == len(values) > 0
            assert ("[" in cell) == (len(values) >= 10)
    assert counted == len(rows) == 2 * COUNT
    assert names[-2:] == ["speaker: F", "speaker: M"]
    bad = sum(row["masks_si-snr_i"] < 0 for row in rows)
    assert f"Counted speaker by speaker: mask head {bad} of 24" in page.text()


def test_ends_belong_to_the_class_above():
    levels = [-20.0, -10.0, 0.0, 10.0]
    rows = [
        {"snt_id": "a", "si-snr": level, "masks_si-snr_i": level}
        for level in levels
    ]
    ((kind, found),) = speaker_context(rows, ["masks"])["groups"]
    assert kind == "input"
    assert {label: s.mean for label, (s,) in found} == {
        "under −10 dB": -20.0,
        "−10 to −5 dB": -10.0,
        "0 to 2.5 dB": 0.0,
        "over 10 dB": 10.0,
    }


def test_a_head_without_speakers(tmp_path):
    """Of an evaluation that had one head only, and undefined cells."""
    plant_run(tmp_path, 3)
    path = tmp_path / "test_speakers.csv"
    path.write_text(
        "snt_id,speaker,group,si-snr,masks_si-snr_i\nu00,1,,1.0,nan\n"
        "u00,2,,-1.0,4.0\n"
    )
    page = Page(write_report(tmp_path))
    assert [row[1:] for row in page.tables["speakers"][1:]] == [
        ["4.00 n = 1", "–"]
    ]
    assert page.tables["speakers"][1][0].endswith("−2.5 to 0 dB")


@pytest.mark.parametrize("rest", ["", ",speaker,group,si-snr\n"])
def test_no_utterance_with_several_speakers(rest, tmp_path):
    plant_run(tmp_path, 3)
    (tmp_path / "test_speakers.csv").write_text("snt_id" + rest)
    page = Page(write_report(tmp_path))
    assert "speakers" not in page.tables
    assert "no test_speakers.csv" not in page.text()
