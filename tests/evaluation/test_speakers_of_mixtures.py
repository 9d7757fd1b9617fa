"""Which speakers a mixture has, how loud, and what an ideal mask makes of it."""

import numpy as np
import pytest
import torch
from refusals import refused

from dpcl_dprnn.evaluation.speakers import (
    groups_of,
    ideal_voices,
    level_difference,
    speaker_groups,
)

RATE = 8000
GROUPS = {"19": "F", "198": "M", "40n": "F", "01x": "M", "test000": "high"}


@pytest.mark.parametrize(
    "name, expected",
    [
        ("40na010x_1.9857_01xo031a_-1.9857", "F-M"),
        ("01xo031a_-1.9857_40na010x_1.9857", "M-F"),
        ("40na010x_1.9_40na011x_-1.9_01xo031a_0.0", "F-F-M"),
        ("0-12_19-198-0000_0.5000_198-2-3_-0.5000", "F-M"),
        ("3-2_19-198-0000_0.5000", "F"),
        ("199-1-1_0.5_19-198-0000_-0.5", ""),  # not 19, and not known
        ("test000_003_0.9_test000_001_-0.9", "high-high"),
        ("mixture7", ""),
        ("40na010x_1.9_40na011x_-1.9_01xo031a_0", "F-F-M"),
        ("40na010x_1.9e-05_01xo031a_-1.9e-05", "F-M"),
        ("198-13754-0001_19-33396-0065", "M-F"),  # LibriMix
        ("198-13754-0001_199-33396-0065", ""),
        ("40na010x_1.9857_01xo031a", ""),  # a gain is missing
    ],
)
def test_groups_of_names(name, expected):
    assert "-".join(groups_of(name, GROUPS)) == expected


@pytest.mark.parametrize("column", ["gender", "sex", "register"])
def test_table_in_a_folder_or_by_name(column, tmp_path):
    path = tmp_path / "speakers.csv"
    path.write_text(f"split,speaker,{column}\ntest,19,F\ntest,26,M\n")
    for place in (tmp_path, path):
        assert speaker_groups(place) == {"19": "F", "26": "M"}


def test_folders_without_a_table_know_nothing(tmp_path):
    assert speaker_groups("") == speaker_groups(tmp_path) == {}
    (tmp_path / "speakers.csv").write_text("name,age\n")
    assert speaker_groups(tmp_path) == {}


def test_tables_of_spreadsheets(tmp_path):
    path = tmp_path / "speakers.csv"
    path.write_text(
        '\ufeffSpeaker, Gender ,age\r\n19, "F",3\r\n\r\n 26 ,M \r\n'
    )
    assert speaker_groups(path) == {"19": "F", "26": "M"}


@pytest.mark.parametrize("row", ["26", ",M", "26,", "26, ", " ,M"])
def test_empty_cells(row, tmp_path, caplog):
    path = tmp_path / "speakers.csv"
    path.write_text(f"speaker,gender\n19,F\n\n{row}\n")
    empty = "speaker" if row.endswith("M") else "gender"
    with refused(f"csv, line 4: no {empty}"):
        speaker_groups(path)
    assert speaker_groups(tmp_path) == {}
    assert f"{path}, line 4: no {empty}" in caplog.text


def test_a_table_that_was_named_has_to_be_one(tmp_path):
    path = tmp_path / "table.csv"
    with refused("Cannot read"):
        speaker_groups(path)
    path.write_text("name,age\na,3\n")
    with refused("needs the columns"):
        speaker_groups(path)


def test_level_difference_is_of_the_loudest_and_the_softest():
    sources = np.array([[1.0, -1.0], [0.1, 0.1], [0.5, 0.5]])
    assert level_difference(sources) == pytest.approx(20)


def test_ideal_voices_of_voices_that_never_meet():
    """Each bin is one voice's own, so that the mask is perfect."""
    time = torch.arange(RATE) / RATE
    voices = torch.stack(
        [torch.sin(2 * torch.pi * f * time) for f in (500.0, 2500.0)]
    )
    torch.testing.assert_close(
        ideal_voices(voices.sum(dim=0), voices, RATE)[:, 400:-400],
        voices[:, 400:-400],
        atol=2e-3,
        rtol=0,
    )


def test_noise_stays_in_the_ideal_voices():
    """The mask is ideal, what it lets through is the mixture's."""
    rng = np.random.default_rng(0)
    voices, noise = (
        torch.from_numpy(rng.standard_normal(shape)).float()
        for shape in ((2, RATE), RATE)
    )
    clean = ideal_voices(voices.sum(dim=0), voices, RATE)
    noisy = ideal_voices(voices.sum(dim=0) + noise, voices, RATE)
    torch.testing.assert_close(
        (noisy - clean).sum(dim=0)[300:-300],
        noise[300:-300],
        atol=1e-4,
        rtol=0,
    )
