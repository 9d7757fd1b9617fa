"""CSV files say what the data folder holds, or why it cannot be used."""

import csv
import os
import pathlib
import shutil

import numpy as np
import pytest
from planting import cut, dead_link, empty, not_finite, not_sound, stereo, write
from refusals import refused
from trees import (
    make_custom,
    make_librimix,
    make_wsj0mix,
)

from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.datasets import manifests
from dpcl_dprnn.datasets.manifests import prepare_manifests

ROOT = "wav8k/min"
CUSTOM = "{}/mixture", "train valid test"
NAMES = {split: f"{split}0a_0.5_0b_-0.5" for split in ("tr", "cv", "tt")}


@pytest.fixture
def data(tmp_path):
    return make_wsj0mix(tmp_path / "data")


@pytest.fixture
def save(tmp_path):
    return tmp_path / "save"


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file, skipinitialspace=True))


@pytest.mark.parametrize("num_spks", [2, 3])
@pytest.mark.parametrize(
    "make, place, splits, options",
    [
        (make_wsj0mix, f"{ROOT}/{{}}/mix", "tr cv tt", {}),
        (make_custom, *CUSTOM, {"suffix": ".flac"}),
        (make_custom, *CUSTOM, {"suffix": ".WAV", "rate": 16000}),
    ],
)
def test_rows(tmp_path, save, make, place, splits, options, num_spks):
    data = make(tmp_path / "any_name", num_spks, **options)
    files = prepare_manifests(data, save, num_spks, options.get("rate", 8000))
    assert list(files) == ["train", "valid", "test"]
    for path, split in zip(files.values(), splits.split(), strict=True):
        rows = read_csv(path)
        sources = [f"s{n + 1}_wav" for n in range(num_spks)]
        assert list(rows[0]) == ["ID", "duration", "mix_wav", *sources]
        names = [f"{split}{n}a_0.5_{n}b_-0.5" for n in range(2)]
        assert [row["ID"] for row in rows] == names
        assert [float(row["duration"]) for row in rows] == [0.6, 0.7]
        wanted = data / place.format(split) / names[0]
        assert rows[0]["mix_wav"] == f"{wanted}{options.get('suffix', '.wav')}"
        for row in rows:
            assert all(os.path.isfile(row[k]) for k in ["mix_wav", *sources])


def test_rate_and_mode_choose_the_folder(data, save):
    make_wsj0mix(data, rate=16000, mode="max")
    files = prepare_manifests(data, save, 2, 16000, "max")
    assert "/wav16k/max/tr/mix/" in read_csv(files["train"])[0]["mix_wav"]


def test_relative_folder_gives_absolute_paths(data, save, monkeypatch):
    monkeypatch.chdir(data.parent)
    files = prepare_manifests("data", "save")
    assert os.path.isabs(read_csv(files["test"])[0]["s2_wav"])


def test_junk_is_ignored(data, save):
    clean = pathlib.Path(prepare_manifests(data, save)["train"]).read_text()
    mix = data / ROOT / "tr/mix"
    (mix / ".DS_Store").write_bytes(b"junk")
    (mix / f"._{NAMES['tr']}.wav").write_bytes(b"junk")
    (mix / "notes.txt").write_text("junk")
    again = prepare_manifests(data, save.with_name("other"))
    assert pathlib.Path(again["train"]).read_text() == clean


def shorter(path):
    write(path, np.zeros(4799))


def other_rate(path):
    write(path, np.zeros(4800), 16000)


@pytest.mark.parametrize(
    "damage, message",
    [
        (cut, "is truncated.* again"),
        (empty, "is empty"),
        (shorter, f"has 4799 samples, but .*mix/{NAMES['cv']}.wav has 4800"),
        (stereo, "has 2 channels.* mono"),
        (other_rate, "has a sampling rate of 16000 Hz.* Resample"),
        (not_finite, "has NaN or infinite samples.* again"),
        (not_sound, "Cannot read .* as sound.* Replace"),
        (dead_link, "No such file"),
        (pathlib.Path.unlink, "is missing"),
    ],
)
def test_damaged_file_is_named_and_old_csv_kept(data, save, damage, message):
    files = prepare_manifests(data, save)
    before = {path: pathlib.Path(path).read_bytes() for path in files.values()}
    place = f"{ROOT}/cv/s2/{NAMES['cv']}.wav"
    damage(data / place)
    with refused(message) as caught:
        prepare_manifests(data, save)
    assert place in str(caught.value)
    for path, content in before.items():
        assert pathlib.Path(path).read_bytes() == content


def test_cut_flac_is_named(tmp_path, save):
    data = make_custom(tmp_path / "data", suffix=".flac")
    cut(data / "test/source1/test0a_0.5_0b_-0.5.flac")
    with refused("source1/test0a_0.5_0b_-0.5.flac"):
        prepare_manifests(data, save)


def test_streamed_wav_is_no_cut_one(data, save):
    """A file written to a pipe has the largest size in its header."""
    path = data / ROOT / "tr/s1" / f"{NAMES['tr']}.wav"
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    path.write_bytes(content)
    prepare_manifests(data, save)


def test_two_files_of_one_name(data, save):
    mix = data / ROOT / "tr/mix"
    write(mix / f"{NAMES['tr']}.flac", np.zeros(4800))
    match = rf"mix/{NAMES['tr']}\.wav .*same name"
    with refused(match):
        prepare_manifests(data, save)


@pytest.mark.parametrize("split", ["tr", "cv", "tt"])
def test_split_missing_or_empty(data, save, split):
    mix = data / ROOT / split / "mix"
    for path in mix.iterdir():
        path.unlink()
    with refused(f"min/{split}/mix has no WAV"):
        prepare_manifests(data, save)
    shutil.rmtree(mix.parent)
    with refused(f"no .* split: .*min/{split}/mix does not exist"):
        prepare_manifests(data, save)


def two_and_three(folder):
    """Mixtures of two speakers, and others of three."""
    two = make_wsj0mix(folder / "2speakers")
    three = make_wsj0mix(folder / "3speakers", 3)
    for path in three.rglob("*.wav"):
        path.rename(path.with_name(f"three_{path.name}"))
    return [str(two), str(three)]


def test_folders_of_several_numbers_of_speakers(tmp_path, save):
    two, three = two_and_three(tmp_path)
    files = prepare_manifests([two, three], save, num_spks=3)
    for path, split in zip(files.values(), ("tr", "cv", "tt"), strict=True):
        rows = read_csv(path)
        assert len(rows) == 4
        for row in rows:
            root = three if row["ID"].startswith("three") else two
            place = f"{root}/wav8k/min/{split}"
            assert row["s2_wav"] == f"{place}/s2/{row['ID']}.wav"
            third = f"{place}/s3/{row['ID']}.wav" if root == three else ""
            assert row["s3_wav"] == third


def test_folders_of_more_speakers_than_the_system_separates(tmp_path, save):
    with refused("3speakers.* of 3 speakers"):
        prepare_manifests(two_and_three(tmp_path), save, num_spks=2)


def test_folders_that_have_mixtures_of_one_name(tmp_path, save):
    two = [make_wsj0mix(tmp_path / name) for name in ("one", "other")]
    with refused("have the same name"):
        prepare_manifests(list(map(str, two)), save)


def test_another_number_of_speakers_writes_the_files_anew(tmp_path, save):
    folders = two_and_three(tmp_path)
    for count in (3, 4):
        files = prepare_manifests(folders, save, num_spks=count)
        assert f"s{count}_wav" in read_csv(files["train"])[0]


def test_reused_only_when_true(data, save, monkeypatch, caplog):
    checked = []
    check_file = manifests.check_file
    monkeypatch.setattr(
        manifests,
        "check_file",
        lambda path, rate: checked.append(path) or check_file(path, rate),
    )
    caplog.set_level("INFO", logger=manifests.__name__)

    def checks(**options):
        checked.clear()
        prepare_manifests(data, save, **options)
        return len(checked)

    assert checks() == 3 * 2 * 3
    assert checks() == 0 and "are kept" in caplog.text
    for kind in ("mix", "s1", "s2"):
        path = data / ROOT / "tr" / kind / f"{NAMES['tr']}.wav"
        write(path, np.zeros(4000))
    assert checks() == 18
    assert read_csv(save / "train.csv")[0]["duration"] == "0.5"
    os.utime(path, (1, 1))
    assert checks() == 18
    (save / "test.csv").write_text("ID,duration\n")
    assert checks() == 18
    (save / "valid.csv").unlink()
    assert checks() == 18
    assert checks() == 0


def test_failed_write_leaves_no_claim(data, save, monkeypatch):
    """CSV files written in part are not taken for whole next time."""
    prepare_manifests(data, save)
    os.utime(data / ROOT / "tr/s1" / f"{NAMES['tr']}.wav", (1, 1))

    def full(path, text):
        raise UserError(f"Cannot write {path}: No space left on device.")

    monkeypatch.setattr(manifests, "write_text", full)
    with refused("No space left"):
        prepare_manifests(data, save)
    assert not (save / "manifests.json").exists()


def test_log_says_what_is_used(tmp_path, save, caplog):
    caplog.set_level("INFO", logger=manifests.__name__)
    data = make_librimix(tmp_path / "data")
    prepare_manifests(data, save)
    assert "train: train-100 and train-360; valid: dev; test: t" in caplog.text
    caplog.clear()
    prepare_manifests(data, save, train_folder="train-100")
    assert "train: train-100; valid: dev" in caplog.text
    assert "are kept" not in caplog.text


def test_length_differs_from_metadata(tmp_path, save):
    data = make_librimix(tmp_path / "data", count=1)
    prepare_manifests(data, save)
    path = data / "wav8k/min/metadata/mixture_test_mix_clean.csv"
    path.write_text(path.read_text().replace("4800", "4801"))
    message = (
        "test/mix_clean/.* has 4800 samples, but .*mixture_test_mix_clean.csv"
        ", line 2, says 4801"
    )
    with refused(message):
        prepare_manifests(data, save)
