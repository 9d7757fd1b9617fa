"""WSJ0's utterances are found on any discs; MERL's tables fit them."""

import os

import numpy as np
import pytest
from refusals import refused
from shorten import write_sphere
from wsj0_tree import official, utterances, write_lists

from dpcl_dprnn.common import files
from dpcl_dprnn.mixtures import wsj0 as wsj0_module
from dpcl_dprnn.mixtures.lists import mixture_name
from dpcl_dprnn.mixtures.wsj0 import (
    find_files,
    locate,
    look_up_levels,
    read_levels,
    read_lists,
    utterance_key,
)
from dpcl_dprnn.sound.sphere import read_speech

LINES = {
    "tr": official("1.9857 40na010x 01xo031a"),
    "cv": official("0.76421 01to030v 40na010x"),
    "tt": official("0.60431 445c0206 22gc0105"),
}
UTTERANCES = tuple(
    path.removeprefix("wsj0/").removesuffix(".wav")
    for path in utterances(LINES.values()).values()
)


def samples(number):
    return np.arange(100, dtype=np.int16) + number


def make_wsj0(folder, pattern="wsj0/{}.wv1", change=str):
    """An utterance a file, each with samples of its own."""
    for number, name in enumerate(UTTERANCES):
        path = folder / change(pattern.format(name))
        write_sphere(path, samples(number))
    return folder


@pytest.fixture
def wsj0(tmp_path):
    return make_wsj0(tmp_path / "discs")


@pytest.fixture
def lists(tmp_path):
    return write_lists(tmp_path / "lists", LINES)


@pytest.mark.parametrize(
    "pattern, change",
    [
        ("{}.wv1", str),
        ("wsj0/{}.wv1", str),
        ("11-1.1/wsj0/{}.wv1", str),
        ("CSR-I/11-1.1/WSJ0/{}.wv1", str.upper),
        ("eine Kopie, größer/wsj0/{}.wv1", str),
        ("wsj0/{}.wav", str),
        ("wsj0/{}.sph", str.upper),
    ],
)
def test_any_nesting(tmp_path, lists, pattern, change):
    wsj0 = make_wsj0(tmp_path / "discs", pattern, change)
    files = locate(read_lists(lists), wsj0)
    assert set(files) == {f"wsj0/{name}.wav" for name in UTTERANCES}
    for number, name in enumerate(UTTERANCES):
        read, _ = read_speech(files[f"wsj0/{name}.wav"])
        np.testing.assert_array_equal(read * 32768, samples(number))


def test_folder_of_one_set(wsj0):
    """The folder that is given may itself be part of the key."""
    index = find_files(wsj0 / "wsj0" / "si_dt_05")
    assert list(index) == ["si_dt_05/22g/22gc0105"]
    assert index == find_files(wsj0 / "wsj0/si_dt_05/22g")


def test_relative_folder(wsj0, monkeypatch):
    monkeypatch.chdir(wsj0 / "wsj0" / "si_dt_05")
    ((key, files),) = find_files(".").items()
    assert key == "si_dt_05/22g/22gc0105" and os.path.isabs(files["wv1"])


def test_discs_in_parts(tmp_path, lists):
    """Speakers spread over discs, with the transcripts in between."""
    wsj0 = make_wsj0(tmp_path / "all")
    for number, name in enumerate(UTTERANCES):
        disc = tmp_path / "discs" / f"11-{number}.1" / "WSJ0"
        target = disc / f"{name}.wv1"
        target.parent.mkdir(parents=True)
        (wsj0 / "wsj0" / f"{name}.wv1").rename(target)
        (target.parent / f"{target.stem}.ptx").write_text("hello")
        (target.parent / f"{target.stem}").write_text("hello")
        (target.parent / f"._{target.name}").write_text("hello")
    index = find_files(tmp_path / "discs")
    assert set(index) == set(UTTERANCES)
    assert index["si_dt_05/22g/22gc0105"] == {"wv1": str(target)}


@pytest.mark.parametrize("reverse", [False, True])
def test_best_kind_and_first_disc(tmp_path, lists, monkeypatch, reverse):
    """The original before a converted file, whatever the order of names."""

    def walk(*args):
        return sorted(files.walk(*args), reverse=reverse)

    monkeypatch.setattr(wsj0_module, "walk", walk)
    for name in ("a/wsj0/{}.wav", "b/wsj0/{}.flac", "c/wsj0/{}.wv2"):
        discs = make_wsj0(tmp_path / "discs", name)
    name = UTTERANCES[0]
    found = locate(read_lists(lists), discs)
    assert found[f"wsj0/{name}.wav"] == f"{discs}/b/wsj0/{name}.flac"
    for disc in ("z2", "z1", "z3"):
        make_wsj0(discs, disc + "/wsj0/{}.wv1", str.upper)
    found = locate(read_lists(lists), discs)
    upper = f"Z1/WSJ0/{name.upper()}.WV1"
    assert found[f"wsj0/{name}.wav"] == f"{discs}/{upper}"


def test_links(wsj0, tmp_path, caplog):
    """Linked discs count, and links that lead back up do not trap."""
    links = tmp_path / "links"
    links.mkdir()
    (links / "disc").symlink_to(wsj0)
    # An alias that comes first must not hide the folder under its own name.
    (wsj0 / "a").symlink_to(wsj0 / "wsj0/si_tr_s/40n")
    (wsj0 / "wsj0/si_tr_s/up").symlink_to(wsj0)
    (wsj0 / "wsj0/loop").symlink_to("loop")
    (wsj0 / "wsj0/nothing").symlink_to("nowhere")
    index = find_files(links)
    assert {key: index[key]["wv1"] for key in UTTERANCES} == {
        key: f"{links}/disc/wsj0/{key}.wv1" for key in UTTERANCES
    }
    assert not caplog.records


def test_locked_folder_is_passed_over(wsj0, caplog, lock):
    (wsj0 / "lost+found").mkdir()
    lock("lost+found")
    assert set(find_files(wsj0)) == set(UTTERANCES)
    assert "lost+found is passed over: Permission denied" in caplog.text


def test_no_folder(tmp_path):
    with refused("nowhere is not a folder"):
        find_files(tmp_path / "nowhere")


def test_missing_utterances_are_named(wsj0, lists):
    for name in (UTTERANCES[0], UTTERANCES[4]):
        (wsj0 / "wsj0" / f"{name}.wv1").unlink()
    (lists / "mix_2_spk_cv.txt").write_text(
        "wsj0/si_tr_s/01t/01to030v.wav 1 wsj0/si_tr_s/01x/01xo031a.wav -1\n"
        + LINES["cv"]
    )
    read = read_lists(lists, splits=("cv", "tt"))
    with refused() as caught:
        locate(read, wsj0)
    text = str(caught.value)
    assert f"{wsj0} lacks 2 of the 5 utterances" in text
    assert "wsj0/si_tr_s/40n/40na010x.wav, wsj0/si_dt_05/22g/22gc0105" in text
    assert f"first in {lists / 'mix_2_spk_cv.txt'}, line 2)" in text
    assert "\n" not in text and "wv2" not in text


def test_many_missing_are_counted(wsj0, lists, tmp_path):
    (tmp_path / "empty").mkdir()
    with refused(r"lacks 5 of the 5 .*, \.\.\. \(") as e:
        locate(read_lists(lists), tmp_path / "empty")
    assert len(str(e.value)) < 500


def test_wrong_microphone(wsj0, lists):
    """`.wv2` is never taken, and the message says that it is there."""
    for name in UTTERANCES[:2]:
        path = wsj0 / "wsj0" / f"{name}.wv1"
        path.rename(path.with_suffix(".WV2"))
    path = wsj0 / "wsj0" / f"{UTTERANCES[3]}.wv1"
    path.unlink()
    with refused("lacks 3 of the 5") as caught:
        locate(read_lists(lists), wsj0)
    assert "2 of them are there as .wv2 only" in str(caught.value)
    assert ".wv1 is needed" in str(caught.value)


def test_key_of_key():
    for name in UTTERANCES:
        assert utterance_key(f"wsj0/{name}.wav") == name
        assert utterance_key(name) == name


@pytest.mark.parametrize("where", [".", "create-speaker-mixtures"])
def test_lists(tmp_path, lists, where):
    folder = tmp_path / "unpacked" / where
    folder.mkdir(parents=True)
    for path in lists.iterdir():
        path.rename(folder / path.name)
    read = read_lists(tmp_path / "unpacked")
    assert list(read) == ["tr", "cv", "tt"]
    assert read["cv"].path == folder / "mix_2_spk_cv.txt"
    assert [mixture_name(m) for m in read["cv"].mixtures] == [
        "01to030v_0.76421_40na010x_-0.76421"
    ]
    assert list(read_lists(tmp_path / "unpacked", 2, ["tt"])) == ["tt"]


def test_bad_lists(tmp_path, lists):
    with refused("nowhere is not a folder"):
        read_lists(tmp_path / "nowhere")
    with refused(r"has no mix_3_spk_tr\.txt"):
        read_lists(lists, 3)
    (lists / "mix_2_spk_cv.txt").write_text("")
    with refused(r"mix_2_spk_cv\.txt is empty"):
        read_lists(lists)
    (lists / "mix_2_spk_cv.txt").write_bytes(b"\xff\xfe")
    with refused(r"Cannot read .*mix_2_spk_cv\.txt"):
        read_lists(lists)


def test_lists_in_two_folders(tmp_path, lists):
    """Which of them is meant cannot be known."""
    lists.rename(tmp_path / "both-1")
    (tmp_path / "both-2").mkdir()
    (tmp_path / "both-2/mix_2_spk_tr.txt").write_text(LINES["tr"])
    with refused("both-1.* and .*both-2"):
        read_lists(tmp_path)


@pytest.mark.parametrize("where", [".", "tables"])
def test_levels(tmp_path, lists, where):
    folder = tmp_path / "levels" / where
    folder.mkdir(parents=True)
    tables = {"si_tr_s": 0, "si_et_05": 3, "si_dt_05": 4}
    for number, name in enumerate(UTTERANCES):
        table = max(t for t, first in tables.items() if name.startswith(t))
        with open(folder / f"activlev_{table}.txt", "a") as file:
            file.write(f"{name[-8:]} {2.5717652515284110e-04 + number}\n")
    levels = read_levels(tmp_path / "levels")
    assert levels["01to030v"] == 2.5717652515284110e-04 + 2
    found = look_up_levels(read_lists(lists), levels)
    assert found == {
        f"wsj0/{name}.wav": 2.5717652515284110e-04 + number
        for number, name in enumerate(UTTERANCES)
    }


def test_utterance_without_level(lists):
    levels = {name[-8:]: 1.0 for name in UTTERANCES[:3]}
    with refused("lack 2 utterances") as caught:
        look_up_levels(read_lists(lists), levels)
    assert "445c0206" in str(caught.value)
    assert "mix_2_spk_tt.txt, line 1" in str(caught.value)


@pytest.mark.parametrize(
    "line",
    ["", "20va010q", "20va010q 1 2", "20va010q loud", "20va010q 0"]
    + ["20va010q -1e-4", "20va010q nan", "20va010q inf"],
)
def test_bad_levels(tmp_path, line):
    path = tmp_path / "activlev_si_dt_05.txt"
    path.write_text(f"423a010n 4.88e-04\n{line}\n")
    with refused(r"activlev_si_dt_05\.txt, line 2, is"):
        read_levels(tmp_path)


def test_no_levels(tmp_path):
    with refused("activlev_si_tr_s.txt, .* leave out"):
        read_levels(tmp_path)
