"""What the report leaves out, and how its texts break."""

import shutil

import numpy as np
from past_run import Page, plant_run, write_scores

from dpcl_dprnn.report.page import write_report


def curves(page):
    return [i["alt"] for i in page.all("img") if "curve" in i["alt"]]


def test_losses_that_do_not_apply_are_left_out(tmp_path):
    plant_run(tmp_path, 3)
    log = (tmp_path / "train_log.txt").read_text()
    zero = log.replace("train pit", "train silence: 0.00e+00, train pit")
    (tmp_path / "train_log.txt").write_text(zero)
    path = tmp_path / "summary.json"
    path.write_text(path.read_text().replace('"pit": null', '"silence": 0.0'))
    page = Page(write_report(tmp_path))
    assert "loss −18.000" in page.paragraphs
    assert len(curves(page)) == 4
    assert not [alt for alt in curves(page) if "silence" in alt]


def test_what_cannot_be_drawn_is_left_out_of_curves(tmp_path):
    plant_run(tmp_path, 3)
    log = (tmp_path / "train_log.txt").read_text()
    log = log.replace("-14.6", "1e308").replace("-19.5", "-1e308")
    (tmp_path / "train_log.txt").write_text(log)
    assert len(curves(Page(write_report(tmp_path)))) == 4


def test_tables_as_spreadsheets_write_them(tmp_path):
    """With a byte-order mark and blank lines."""
    plant_run(tmp_path / "run")
    page = Page(write_report(tmp_path / "run"))
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    for path in (tmp_path / "copy").glob("*.csv"):
        text = "\ufeff" + path.read_text() + "\n\n"
        path.write_text(text, encoding="utf-8")
    again = Page(write_report(tmp_path / "copy"))
    assert again.tables == page.tables
    assert again.paragraphs == page.paragraphs


def test_names_break_after_underscores_only(tmp_path):
    plant_run(tmp_path, 1)
    write_scores(tmp_path, ["0-1_a_-2.5"], np.full((1, 4), -1.0))
    path = write_report(tmp_path)
    row = Page(path).tables["failure-table"][1]
    assert row[:2] == ["0-1_a_-2.5", "−1.00"]
    breaks = '0-1_</span><wbr><span class="part">a_</span><wbr>'
    assert breaks in path.read_text(encoding="utf-8")


def test_wide_tables_can_be_reached_by_key(tmp_path):
    plant_run(tmp_path)
    page = Page(write_report(tmp_path))
    boxes = [d for d in page.all("div") if d.get("class") == "scroll"]
    assert len(boxes) == len(page.tables) == 5
    captions = {p.get("id") for p in page.all("p")}
    for box in boxes:
        assert box["tabindex"] == "0" and box["role"] == "region"
        assert box["aria-labelledby"] in captions
