"""Every layout is recognised by its content and listed without mistakes."""

import logging
import shutil

import numpy as np
import pytest
import soundfile
from refusals import refused
from trees import (
    MAKERS,
    make_custom,
    make_folders,
    make_librimix,
    make_mini_librimix,
    make_scp,
    make_wham,
    make_wsj0mix,
)

from dpcl_dprnn.datasets.data_sets import choose_data_set, find_data_sets
from dpcl_dprnn.datasets.layouts import SPLITS


def choose(folder, rate=8000, mode="min", kind="clean", num_spks=2, train=""):
    return choose_data_set(folder, rate, mode, kind, [num_spks], train)


def fails(*arguments, **options):
    with refused() as caught:
        data_set = choose(*arguments, **options)
        for split in SPLITS:
            data_set.rows(split)
    message = str(caught.value)
    return message


def facts(data_set):
    """All that the doctor and the log say of a data set."""
    return (
        data_set.layout.name,
        data_set.rate,
        data_set.mode,
        data_set.mixture_type,
        data_set.num_spks,
        *data_set.folders.values(),
    )


WSJ0 = (("tr",), ("cv",), ("tt",))
LIBRI = (("train-100", "train-360"), ("dev",), ("test",))
MINI = (("train",), ("val",), ())
BOTH = ("clean", "both")
CUSTOM = (("train",), ("valid",), ("test",))
WANTED = {
    "wsj0-mix": [("wsj0-mix", 8000, "min", "clean", 2, *WSJ0)],
    "wsj0-3mix": [("wsj0-mix", 16000, "max", "clean", 3, *WSJ0)],
    "custom": [("custom", None, None, "clean", 4, *CUSTOM)],
    "folders": [("a folder for each mixture", None, None, "clean", 2, *CUSTOM)],
    "WHAM!": [("WHAM!", 8000, "min", kind, 2, *WSJ0) for kind in BOTH],
    "WHAMR!": [
        ("WHAMR! anechoic", 8000, "min", kind, 2, *WSJ0) for kind in BOTH
    ],
    "LibriMix": [("LibriMix", 8000, "min", kind, 2, *LIBRI) for kind in BOTH],
    "Libri3Mix": [("LibriMix", 8000, "min", "clean", 3, *LIBRI)],
    "MiniLibriMix": [
        ("MiniLibriMix", None, None, kind, 2, *MINI) for kind in BOTH
    ],
    "scp": [("scp lists", None, None, "clean", 2, *WSJ0)],
    "nested scp": [("scp lists", None, None, "clean", 3, *WSJ0)],
}


@pytest.mark.parametrize("tree", MAKERS)
def test_recognised_by_content(tree, tmp_path):
    found = find_data_sets(MAKERS[tree](tmp_path / "my data"))
    assert [facts(data_set) for data_set in found] == WANTED[tree]


@pytest.mark.parametrize("tree", MAKERS)
def test_mixtures_are_the_sum_of_their_rows(tree, tmp_path):
    """Of what is in the files: no source is mixed up with another's."""
    for data_set in find_data_sets(MAKERS[tree](tmp_path / "my data")):
        for split, folders in data_set.folders.items():
            rows = data_set.rows(split) if folders else {}
            assert len(rows) == 2 * len(folders) and list(rows) == sorted(rows)
            for name, row in rows.items():
                if data_set.layout.name == "a folder for each mixture":
                    assert {path.parent.name for path in row} == {name}
                else:
                    assert {path.stem for path in row} == {name}
                assert name.startswith(folders)
                mixture, *sources = (
                    soundfile.read(p, dtype="int16")[0] for p in row
                )
                noise = mixture.astype(int) - np.sum(sources, axis=0)
                assert len(sources) == data_set.num_spks
                assert noise.any() == (data_set.mixture_type == "both")
                assert np.abs(noise).max() <= 300


def test_several_rates_and_modes(tmp_path):
    for rate, mode in ((8000, "max"), (16000, "min"), (8000, "min")):
        make_librimix(tmp_path, rate=rate, mode=mode, count=1)
    found = find_data_sets(tmp_path)
    assert [facts(data_set)[1:4] for data_set in found] == [
        (rate, mode, kind)
        for rate, mode in ((16000, "min"), (8000, "max"), (8000, "min"))
        for kind in ("clean", "both")
    ]
    chosen = choose(tmp_path, 8000, "max", "both")
    assert facts(chosen)[1:4] == (8000, "max", "both")
    message = fails(tmp_path, 16000, "max")
    assert "has no wav16k/max, but wav16k/min and wav8k/max and" in message
    assert "has no wav48k/min, but" in fails(tmp_path, 48000)


@pytest.mark.parametrize("inside", ["wav8k", "wav8k/min"])
def test_a_folder_inside(inside, tmp_path):
    """LibriMix, not MiniLibriMix, although both have test/mix_clean."""
    make_librimix(tmp_path)
    outer, inner = choose(tmp_path), choose(tmp_path / inside)
    assert facts(inner) == facts(outer) and inner.root == outer.root
    assert inner.rows("test") == outer.rows("test")
    assert len(find_data_sets(tmp_path / inside)) == 2
    assert find_data_sets(tmp_path / "wav8k/min/dev") == []


def test_folder_above(tmp_path):
    """The archive unpacked in a folder of the same name."""
    make_mini_librimix(tmp_path / "MiniLibriMix" / "MiniLibriMix")
    (tmp_path / "MiniLibriMix" / "MiniLibriMix.zip").write_bytes(b"PK")
    message = fails(tmp_path / "MiniLibriMix")
    folder = tmp_path / "MiniLibriMix" / "MiniLibriMix"
    assert f"Set --data_folder={folder}." in message


def test_no_data_set(tmp_path):
    assert "nowhere is not a folder" in fails(tmp_path / "nowhere")
    message = fails(tmp_path)
    assert "found an empty folder" in message
    assert "wav8k/min/{tr,cv,tt}" in message
    (tmp_path / "wav8k/min/tr/mix_single").mkdir(parents=True)
    assert find_data_sets(tmp_path) == []
    assert find_data_sets(tmp_path / "nowhere") == []
    message = fails(tmp_path)
    for layout in (
        "{train-100,train-360,dev,test}/{mix_clean,mix_both,s1,s2}",
        "{tr,cv,tt}_{mix,s1,s2}.scp",
        "wav8k/min/{tr,cv,tt}/{mix,s1,s2}",
        "{train,valid,test}/{mixture,source1,source2}",
        "found wav8k",
    ):
        assert layout in message


def test_train_folder(tmp_path):
    make_librimix(tmp_path)
    every = choose(tmp_path).rows("train")
    small = choose(tmp_path, train="train-100").rows("train")
    assert len(small) == 2 and small.items() <= every.items()
    assert {row[0].parts[-3] for row in small.values()} == {"train-100"}
    message = fails(tmp_path, train="train-clean-100")
    assert "train_folder is 'train-clean-100'" in message
    assert "has train-100 and train-360." in message


def test_same_name_in_two_training_folders(tmp_path):
    make_librimix(tmp_path)
    root = tmp_path / "wav8k/min"
    shutil.rmtree(root / "train-360")
    shutil.copytree(root / "train-100", root / "train-360")
    shutil.rmtree(root / "metadata")
    message = fails(tmp_path)
    assert "train-360/mix_clean/train-1000a" in message
    assert "same name" in message and "--train_folder" in message
    assert len(choose(tmp_path, train="train-360").rows("train")) == 2


@pytest.mark.parametrize("make", [make_wsj0mix, make_custom])
def test_no_noisy_mixtures(make, tmp_path):
    message = fails(make(tmp_path), kind="both")
    assert "mixture_type is both, but" in message
    assert "has only mix" in message and "--mixture_type=clean" in message


def test_no_such_type_of_mixtures(tmp_path):
    make_wham(tmp_path, mixtures=["mix_both"])
    assert "--mixture_type=both" in fails(tmp_path)
    message = fails(tmp_path, kind="single")
    assert message == "mixture_type is 'single'; it must be clean or both."


@pytest.mark.parametrize("there, asked", [(2, 3), (3, 2)])
def test_number_of_speakers(there, asked, tmp_path):
    message = fails(make_librimix(tmp_path, there), num_spks=asked)
    assert f"train-100/mix_clean has sources of {there} speakers" in message
    assert f"num_spks is {asked}. Set --num_spks={there}" in message


def test_no_sources(tmp_path):
    root = make_wsj0mix(tmp_path) / "wav8k/min"
    for split in ("tr", "cv", "tt"):
        for source in ("s1", "s2"):
            shutil.rmtree(root / split / source)
    assert f"{root / 'tr' / 's1'} is missing" in fails(tmp_path)


def test_several_data_sets_fit(tmp_path):
    make_custom(make_wsj0mix(tmp_path))
    message = fails(tmp_path)
    assert "several data sets: wsj0-mix" in message and "custom" in message


def test_no_test_split(tmp_path, caplog):
    make_mini_librimix(tmp_path)
    data_set = choose(tmp_path)
    assert "optimistic" in caplog.text and "val" in caplog.text
    assert caplog.records[-1].levelno == logging.WARNING
    assert data_set.rows("test") == data_set.rows("valid") != {}
    caplog.clear()
    shutil.copytree(tmp_path / "val", tmp_path / "test")
    assert choose(tmp_path).folders["test"] == ("test",)
    assert "optimistic" not in caplog.text


def test_no_test_split_where_there_must_be_one(tmp_path):
    make_librimix(tmp_path, splits=("train-100", "dev"))
    message = fails(tmp_path)
    assert "no test split" in message
    assert "min/test/mix_clean does not exist" in message


METADATA = "wav8k/min/metadata/mixture_dev_mix_clean.csv"


def test_metadata_decide(tmp_path, caplog):
    """The split is what they list; the other type has its own."""
    path = make_librimix(tmp_path, count=3) / METADATA
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[3], lines[1]]) + "\n")
    data_set = choose(tmp_path)
    assert list(data_set.rows("valid")) == [
        "dev0a_0.5_0b_-0.5",
        "dev2a_0.5_2b_-0.5",
    ]
    assert "dev/mix_clean has 1 files that" in caplog.text
    assert len(choose(tmp_path, kind="both").rows("valid")) == 3
    lengths = {k: v.length for k, v in data_set.listing("valid").items()}
    assert sorted(lengths.values()) == [4800, 6400]


def test_without_metadata(tmp_path, caplog):
    make_librimix(tmp_path)
    with_metadata = choose(tmp_path).rows("train")
    shutil.rmtree(tmp_path / "wav8k/min/metadata")
    data_set = choose(tmp_path)
    assert data_set.rows("train") == with_metadata
    assert data_set.listing("train") == {}
    assert caplog.text == ""


def test_listed_file_is_missing(tmp_path):
    make_librimix(tmp_path)
    (tmp_path / "wav8k/min/dev/mix_clean/dev1a_0.5_1b_-0.5.wav").unlink()
    message = fails(tmp_path)
    assert "dev/mix_clean/dev1a_0.5_1b_-0.5.wav is missing" in message
    assert f"{METADATA}, line 3, lists it" in message


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("mixture_ID", "mixture", "has no column mixture_ID"),
        ("length", "samples", "has no column length"),
        ("wav,5600", "wav,5600x", "line 3: the length is '5600x'"),
        ("wav,5600", "wav", "line 3: the length is None"),
        ("\ndev1", "\ndev0", "line 3, lists dev0a_0.5_0b_-0.5 again"),
        ("dev1", "\udcff", "Cannot read"),
    ],
)
def test_bad_metadata(old, new, words, tmp_path):
    path = make_librimix(tmp_path) / METADATA
    text = path.read_text()
    assert old in text
    text = text.replace(old, new).replace("dev0a_0.5_1b", "dev0a_0.5_0b")
    path.write_bytes(text.encode(errors="surrogateescape"))
    message = fails(tmp_path)
    assert METADATA in message and words in message


def test_empty_metadata(tmp_path):
    path = make_librimix(tmp_path) / METADATA
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert f"{METADATA} lists no mixtures" in fails(tmp_path)


def test_metadata_as_pandas_may_write_them(tmp_path):
    """With a column of row numbers, and lengths as floating point."""
    path = make_librimix(tmp_path) / METADATA
    lines = path.read_text().splitlines()
    lines = [f"{n},{line}.0" for n, line in enumerate(lines)]
    lines[0] = lines[0][1:-2]
    path.write_text("\r\n".join(lines) + "\r\n")
    listing = choose(tmp_path).listing("valid")
    assert [listed.length for listed in listing.values()] == [4800, 5600]


@pytest.mark.parametrize("nested", [False, True])
def test_scp_paths(nested, tmp_path):
    """Absolute or relative to the list, with spaces; any order of lines."""
    sounds, folder = tmp_path / "lists/tr/my sounds", tmp_path / "lists"
    make_scp(folder, sounds, nested=nested)
    wanted = choose(folder).rows("train")
    assert list(wanted) == ["tr0a_0.5_0b_-0.5", "tr1a_0.5_1b_-0.5"]
    path = folder / ("tr/spk2.scp" if nested else "tr_s2.scp")
    base = f"{path.parent}/"
    lines = path.read_text().replace(base, "").splitlines()[::-1]
    assert lines[0].split(" ")[1] == ("my" if nested else "tr/my")
    path.write_text("\ufeff" + "\r\n\r\n".join(lines).replace(" ", "\t", 1))
    assert choose(folder).rows("train") == wanted


def replace_line(path, number, line):
    lines = path.read_text().splitlines()
    lines[number - 1 : number] = [line] if line else []
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    "line, words",
    [
        ("", "cv_s1.scp has no cv1a_0.5_1b_-0.5, but cv_mix.scp, line 2, has"),
        ("x.wav {file}", "cv_s1.scp has no cv1a_0.5_1b_-0.5"),
        ("cv1a_0.5_1b_-0.5.wav", "cv_s1.scp, line 2, is not 'name path'"),
        ("cv1a_0.5_1b_-0.5 x.wav", "cv_s1.scp, line 2: there is no file"),
        ("cv0a_0.5_0b_-0.5 {file}", "line 2, has cv0a_0.5_0b_-0.5 again"),
        ("cv1a sph2pipe x.wv1 |", "cv_s1.scp, line 2, names a command"),
        (
            "cv1a_0.5_1b_-0.5 {file}\nmore {file}",
            "cv_s1.scp, line 3, has more, but cv_mix.scp has not",
        ),
    ],
)
def test_bad_scp(line, words, tmp_path):
    folder = make_scp(tmp_path, tmp_path / "sounds")
    path = folder / "cv_s1.scp"
    file = path.read_text().splitlines()[0].split()[1]
    replace_line(path, 2, line.format(file=file))
    message = fails(tmp_path)
    assert words in message and str(folder) in message


def test_scp_missing_or_empty(tmp_path):
    make_scp(tmp_path, tmp_path / "sounds")
    (tmp_path / "tt_s2.scp").write_text("\n")
    assert "tt_s2.scp lists no files" in fails(tmp_path)
    (tmp_path / "tt_s2.scp").unlink()
    assert "Cannot read" in fails(tmp_path)
    (tmp_path / "tt_s2.scp").write_bytes(b"\xff\xfe")
    assert "tt_s2.scp is not UTF-8" in fails(tmp_path)
    (tmp_path / "tt_mix.scp").unlink()
    message = fails(tmp_path)
    assert "tt_mix.scp does not exist" in message


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda folder: (folder / "s2.wav").unlink(), "s2.wav is missing"),
        (lambda folder: (folder / "mixture.wav").unlink(), "mixture.wav is mi"),
        (
            lambda folder: shutil.copy(folder / "s1.wav", folder / "s1.flac"),
            "has two files s1",
        ),
    ],
)
def test_a_folder_for_each_mixture_that_lacks_a_file(tmp_path, damage, message):
    folder = make_folders(tmp_path)
    damage(folder / "test/test1a_0.5_1b_-0.5")
    assert message in fails(folder)
