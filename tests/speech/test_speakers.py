"""Speakers and their utterances are found in folders as they are shipped."""

import numpy as np
import pytest
import soundfile
from refusals import refused
from shorten import write_speech
from sounds import convert

from dpcl_dprnn.speech.speakers import (
    find_speakers,
    find_training_speakers,
    list_speech,
    read_utterance,
)

NOISE = np.random.default_rng(0).integers(-3000, 3000, 16000, np.int16)


def write(path, seconds=0.6, rate=8000):
    write_speech(path, NOISE[: round(seconds * rate)], rate)


def make_speech(folder, speakers, suffix=".wav"):
    """A folder of speakers with two utterances each."""
    for speaker in speakers:
        for number in range(2):
            write(folder / speaker / f"{speaker}_{number}{suffix}")
    return folder


@pytest.fixture
def flat(tmp_path):
    return make_speech(tmp_path / "speech", [f"p{n:02}" for n in range(9)])


@pytest.fixture
def librispeech(tmp_path):
    """SPEAKER/CHAPTER/SPEAKER-CHAPTER-0000.flac, two chapters each."""
    folder = tmp_path / "LibriSpeech"
    for split, speakers in {
        "train-clean-100": ("103", "1034"),
        "train-clean-360": ("100", "1001"),
        "dev-clean": ("1272", "1462"),
        "test-clean": ("1089", "1188"),
    }.items():
        for speaker in speakers:
            for chapter in ("1240", "128104"):
                name = f"{speaker}-{chapter}"
                place = folder / split / speaker / chapter
                write(place / f"{name}-0000.flac", rate=16000)
                (place / f"{name}.trans.txt").write_text("A WORD\n")
    (folder / "SPEAKERS.TXT").write_text("103 | F | train-clean-100\n")
    return folder


WSJ0 = {
    "tr": ("si_tr_s", ("01t", "40n")),
    "cv": ("si_dt_05", ("050", "22g")),
    "tt": ("si_et_05", ("440", "445")),
}


@pytest.fixture
def wsj0(tmp_path):
    """Each utterance from both microphones, with a prompt beside it."""
    folder = tmp_path / "wsj0"
    for split, speakers in WSJ0.values():
        for speaker in speakers:
            place = folder / split / speaker
            for suffix in (".wv1", ".wv2"):
                write(place / f"{speaker}c0201{suffix}")
            (place / f"{speaker}c0200.ptx").write_text("x")
    return folder


def count(found):
    return {split: len(speakers) for split, speakers in found.items()}


def test_flat_folder_is_divided_by_speaker(flat):
    found = find_speakers(flat, n_spks=2, seed=3)
    assert count(found) == {"tr": 5, "cv": 2, "tt": 2}
    names = {name for speakers in found.values() for name in speakers}
    assert names == {path.name for path in flat.iterdir()}
    for speakers in found.values():
        assert list(speakers) == sorted(speakers)
        for name, paths in speakers.items():
            assert paths == [f"{name}/{name}_{n}.wav" for n in range(2)]


def test_seed_decides_the_division(flat):
    found = find_speakers(flat, n_spks=2, seed=3)
    assert found == find_speakers(flat, n_spks=2, seed=3)
    assert any(found != find_speakers(flat, 2, seed) for seed in range(4, 7))


def test_division_of_many_speakers(tmp_path):
    """80, 10 and 10 %."""
    make_speech(tmp_path / "speech", [f"p{n:02}" for n in range(40)])
    found = find_speakers(tmp_path / "speech")
    assert count(found) == {"tr": 32, "cv": 4, "tt": 4}


@pytest.mark.parametrize(
    "names",
    [
        ("train", "valid", "test"),
        ("tr", "cv", "tt"),
        ("train", "dev", "test"),
        ("train_other", "dev_other", "test_other"),
    ],
)
def test_names_of_splits(tmp_path, names):
    speech = tmp_path / "speech"
    for name in names:
        make_speech(speech / name, [f"{name}A", f"{name}B"])
    make_speech(speech / "unused", ["c"])
    make_speech(speech / "trainers", ["d"])
    found = find_speakers(speech)
    for split, name in zip(("tr", "cv", "tt"), names, strict=True):
        assert list(found[split]) == [f"{name}A", f"{name}B"]
        assert found[split][f"{name}A"][0] == f"{name}/{name}A/{name}A_0.wav"


def test_librispeech(librispeech, caplog):
    """Both training folders are one split; a speaker is all chapters."""
    found = find_speakers(librispeech)
    assert {split: list(speakers) for split, speakers in found.items()} == {
        "tr": ["100", "1001", "103", "1034"],
        "cv": ["1272", "1462"],
        "tt": ["1089", "1188"],
    }
    assert found["tr"]["103"] == [
        "train-clean-100/103/1240/103-1240-0000.flac",
        "train-clean-100/103/128104/103-128104-0000.flac",
    ]
    assert not caplog.records


def test_speaker_of_two_training_folders_is_one(librispeech, caplog):
    write(librispeech / "train-clean-360/103/7/103-7-0000.flac")
    assert len(find_speakers(librispeech)["tr"]["103"]) == 3
    assert not caplog.records


def test_wsj0(wsj0):
    """The first microphone alone."""
    assert find_speakers(wsj0) == {
        split: {name: [f"{folder}/{name}/{name}c0201.wv1"] for name in names}
        for split, (folder, names) in WSJ0.items()
    }


def test_names_of_splits_may_be_upper_case(wsj0):
    (wsj0 / "si_tr_s").rename(wsj0 / "SI_TR_S")
    found = find_speakers(wsj0)
    assert found["tr"]["01t"] == ["SI_TR_S/01t/01tc0201.wv1"]


def test_links_back_up_end(tmp_path):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    (folder / "x.wav").touch()
    for number in range(3):
        (folder / f"up{number}").symlink_to(tmp_path)
    assert list_speech(tmp_path)[0] == [folder / "x.wav"]


def test_second_microphone_alone_is_no_speech(wsj0):
    for path in wsj0.rglob("*.wv1"):
        path.unlink()
    with refused("too few speakers: 0 for train"):
        find_speakers(wsj0)


@pytest.mark.parametrize(
    "first, second", [("tr", "cv"), ("cv", "tt"), ("tr", "tt")]
)
def test_speaker_in_two_splits_is_warned_of(tmp_path, caplog, first, second):
    speech = tmp_path / "speech"
    for split in ("tr", "cv", "tt"):
        make_speech(speech / split, [f"{split}A", f"{split}B"])
    assert len(find_speakers(speech)) == 3 and not caplog.records
    for split in (first, second):
        make_speech(speech / split, ["eve"])
    assert "eve" in find_speakers(speech)[second]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert str(speech) in record.message and "eve" in record.message


def test_junk_is_passed_over(tmp_path, caplog):
    speech = tmp_path / "speech"
    for split in ("train", "valid", "test"):
        make_speech(speech / split, [f"{split}A", f"{split}B"])
    before = find_speakers(speech)
    speaker = speech / "train" / "trainA"
    (speech / "train" / ".DS_Store").write_bytes(b"junk")
    (speaker / "._u0_0.wav").write_bytes(b"junk")
    (speaker / "notes.txt").write_text("junk")
    (speech / "train" / "empty").mkdir()
    write(speech / "train" / "beside.wav")
    write(speech / "train" / ".hidden" / "u.wav")
    write(speaker / ".trash" / "u.wav")
    write(speaker / "short.wav", seconds=0.49)
    assert not caplog.records
    assert find_speakers(speech) == before
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"{speech} has 1 utterances under 0.5 s" in record.message
    write(speaker / "long.wav", seconds=0.5)
    assert "train/trainA/long.wav" in find_speakers(speech)["tr"]["trainA"]


def test_any_depth_any_case_and_links(tmp_path):
    """Names as people give them, and speakers on another disk."""
    speech, other = tmp_path / "speech", tmp_path / "other"
    for n in range(6):
        write(speech / f"p{n}" / "a" / "Zoë B" / "x.WAV")
    write(other / "y.flac")
    (speech / "p0" / "link").symlink_to(other)
    found = find_training_speakers(speech)
    assert found["p0"] == ["p0/a/Zoë B/x.WAV", "p0/link/y.flac"]
    assert len(found) == 6


def test_sound_files(tmp_path):
    names = ["b/c.wv1", "a.flac", "b.SPH", "b/.c.wav", "d.mp3", "e.wv2"]
    names += ["f.M4A", "g.txt", "b/h.txt", "README"]
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    paths, others = list_speech(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in paths]
    assert found == ["a.flac", "b/c.wv1", "b.SPH", "d.mp3", "f.M4A"]
    assert others == {".txt": 2, ".wv2": 1, "": 1}


def test_one_file_of_each_utterance(tmp_path):
    """The original, not what someone has made of it, in whatever case."""
    kinds = [".wv1", ".SPH", ".flac", ".WAV"]
    for number in range(len(kinds)):
        for suffix in kinds[number:]:
            (tmp_path / f"u.{number}{suffix}").touch()
    (tmp_path / "u.wav").touch()
    names = [f"u.{number}{kind}" for number, kind in enumerate(kinds)]
    assert list_speech(tmp_path)[0] == [
        tmp_path / name for name in (*names, "u.wav")
    ]


def test_training_speakers_alone(librispeech, flat):
    everything = find_speakers(librispeech)
    assert find_training_speakers(librispeech) == everything["tr"]
    assert len(find_training_speakers(flat)) == 9


def test_training_speakers_need_no_other_split(tmp_path):
    make_speech(tmp_path / "train-clean-100", ["a", "b"])
    assert list(find_training_speakers(tmp_path)) == ["a", "b"]
    with refused("too few speakers: 2 for train"):
        find_training_speakers(tmp_path, n_spks=3)
    make_speech(tmp_path / "other" / "test-clean", ["a", "b"])
    with refused("other has no folder train"):
        find_training_speakers(tmp_path / "other")


def test_too_few_speakers(flat):
    with refused("speech has too few") as caught:
        find_speakers(flat, n_spks=4)
    message = str(caught.value)
    assert "9 folders" in message and "4 or more each, 12 in all" in message
    assert count(find_speakers(flat, n_spks=3)) == {"tr": 3, "cv": 3, "tt": 3}


@pytest.mark.parametrize("find", [find_speakers, find_training_speakers])
def test_splits_deeper_down_are_no_speakers(find, wsj0):
    """Discs, say, each of which would pass for a speaker."""
    for number in range(1, 10):
        disc = wsj0.parent / "discs" / f"11-{number}.1" / "wsj0"
        write(disc / "a_other" / "01u" / "u.wv1")
    assert find(wsj0.parent / "discs")
    wsj0.rename(wsj0.parent / "discs" / "11-9.1" / "wsj0" / "sounds")
    with refused(r"below 11-9\.1") as caught:
        find(wsj0.parent / "discs")
    message = str(caught.value)
    assert "discs is no folder of speakers" in message
    assert "si_" in message


@pytest.mark.parametrize("lacking", ["train", "valid", "test"])
def test_missing_split_is_named(tmp_path, lacking):
    for split in {"train", "valid", "test"} - {lacking}:
        make_speech(tmp_path / split, ["a", "b"])
    with refused(f"but no {lacking}"):
        find_speakers(tmp_path)


@pytest.mark.parametrize("find", [find_speakers, find_training_speakers])
def test_bad_folders(flat, find):
    with refused("nowhere is not a folder"):
        find(flat / "nowhere")
    (flat / "p03/broken.wav").write_bytes(b"no sound")
    with refused(r"Cannot read .*broken\.wav"):
        find(flat)
    soundfile.write(flat / "p03/broken.wav", np.zeros((8000, 2)), 8000)
    with refused(r"broken\.wav has 2 channels"):
        find(flat)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".wv1", ".sph"])
def test_read_utterance(tmp_path, suffix):
    write(tmp_path / f"u{suffix}", rate=16000)
    samples, rate = read_utterance(tmp_path / f"u{suffix}")
    assert samples.dtype == np.float64 and rate == 16000
    np.testing.assert_array_equal(samples * 32768, NOISE[:9600])


@pytest.mark.parametrize("peak", [0, 1, 3])
def test_silent_utterance_is_refused(tmp_path, peak):
    """A recorder that was off leaves a step or two of dither."""
    path = tmp_path / "u.wav"
    soundfile.write(path, np.full(8000, peak, np.int16), 8000)
    with refused(r"u\.wav is silent"):
        read_utterance(path)
    soundfile.write(path, np.full(8000, 4, np.int16), 8000)
    assert read_utterance(path)[0].max() == 4 / 32768


def test_a_level_above_the_speakers(tmp_path, caplog):
    """As TIMIT has its dialects: told, or asked about."""
    for split, speakers in {"TRAIN": 12, "VALID": 6, "TEST": 6}.items():
        for number in range(speakers):
            name = f"{split[:2]}{number:02}"
            write(tmp_path / split / f"DR{number % 2}" / name / "SA1.WAV")
    find_speakers(tmp_path)
    (record,) = [r for r in caplog.records if "TRAIN" in r.getMessage()]
    message = record.getMessage()
    assert "2 speakers and 12 folders" in message
    assert "speaker_level" in message
    caplog.clear()
    found = find_speakers(tmp_path, level=1)
    assert count(found) == {"tr": 12, "cv": 6, "tt": 6}
    assert found["tr"]["TR03"] == ["TRAIN/DR1/TR03/SA1.WAV"]
    assert not caplog.records
    flat = find_training_speakers(tmp_path / "TRAIN", level=1)
    assert flat["TR03"] == ["DR1/TR03/SA1.WAV"]


def test_chapters_are_no_speakers(librispeech, caplog):
    find_speakers(librispeech)
    assert "are those" not in caplog.text


def test_a_folder_too_high(tmp_path):
    """As of VCTK, which has its texts beside the speech."""
    folder = make_speech(tmp_path / "wav48", [f"p{n:02}" for n in range(9)])
    (tmp_path / "txt").mkdir()
    (tmp_path / "txt/p00.txt").write_text("A word.")
    with refused("1 folders with speech.*9 folders below .*/wav48"):
        find_speakers(tmp_path)
    assert count(find_speakers(folder)) == {"tr": 5, "cv": 2, "tt": 2}


@pytest.mark.parametrize("find", [find_speakers, find_training_speakers])
@pytest.mark.parametrize(
    "names", [("mixture", "s1", "s2"), ("mix", "spk1", "spk2", "noise")]
)
def test_mixtures_are_no_speakers(tmp_path, find, names):
    for number in range(9):
        for name in names:
            write(tmp_path / f"{number}/{name}.wav")
    with refused("a mixture and its sources.*--data_folder"):
        find(tmp_path)


def test_what_is_passed_over_is_counted(flat, caplog):
    caplog.set_level("INFO")
    for number in range(3):
        (flat / f"p00/{number}.txt").touch()
    find_speakers(flat)
    assert "passed over 3 .txt" in caplog.text


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".m4a"])
def test_speech_as_phones_and_the_web_have_it(flat, suffix):
    for path in list(flat.glob("p0?/*.wav")):
        convert(path, path.with_suffix(suffix))
        path.unlink()
    found = find_speakers(flat)
    assert count(found) == {"tr": 5, "cv": 2, "tt": 2}
    name = found["tr"][min(found["tr"])][0]
    samples, rate = read_utterance(flat / name)
    assert rate == 8000 and abs(len(samples) - 4800) < 1200
