"""The data doctor on folders of speakers and on WSJ0."""

import os
import re
import shutil
import sys

import numpy as np
import pytest
import soundfile
from examining import command, found, page_naming, run
from planting import cut, planted, write
from refusals import refused
from shorten import write_shortened, write_sphere
from sounds import convert

from dpcl_dprnn.common import files
from dpcl_dprnn.doctor import examiner
from dpcl_dprnn.doctor import speech as doctor_speech
from dpcl_dprnn.doctor import wsj0 as doctor_wsj0
from dpcl_dprnn.doctor.report import Kind, Problem
from dpcl_dprnn.mixtures import wsj0 as wsj0_module
from dpcl_dprnn.sound.ffmpeg import find_decoder

# Folders of speakers


@pytest.fixture
def speech(tmp_path):
    """Two speakers a split, with two utterances of 0.6 and 0.7 s each."""
    rng = np.random.default_rng(0)
    for split in ("train", "valid", "test"):
        for speaker in (f"{split}1", f"{split}2"):
            folder = tmp_path / "speech" / split / speaker / "deep"
            folder.mkdir(parents=True)
            for number in range(2):
                samples = rng.integers(-3000, 3000, 4800 + 800 * number)
                write(folder / f"{speaker}-{number}.wav", samples)
    return tmp_path / "speech"


UTTERANCE = "train/train1/deep/train1-0.wav"


def test_healthy_speech(speech, capsys):
    write(speech / "train/train1/short.wav", np.full(3999, 8192))
    write(speech / "train/loose.wav", np.full(4800, 8192))
    (speech / "train/.hidden").mkdir()
    status, page = command(capsys, "--data", speech)
    assert status == 0 and page.endswith("\nOK\n")
    line = next(line for line in page.splitlines() if " valid" in line)
    assert line.split()[:3] == ["valid", "2", "4"]
    assert "1 utterances under 0.5 s are passed over (short.wav)" in page
    assert "1 files in no speaker's folder" in page


def test_speech_of_other_kinds(speech, capsys):
    """What libsndfile cannot seek in, and what it cannot read."""
    path = speech / UTTERANCE
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples, rate, "G721_32")
    path = speech / "valid/valid1/deep/valid1-0.wav"
    convert(path, path.with_suffix(".m4a"))
    path.unlink()
    (speech / "test/test1/notes.txt").touch()
    status, page = command(capsys, "--data", speech)
    assert status == 0 and page.endswith("\nOK\n")
    assert "other files are passed over: 1 .txt" in page


def test_a_level_above_the_speakers(speech, capsys):
    for split in ("train", "valid", "test"):
        for number in range(4):
            folder = speech / split / f"{split}1/{number}"
            shutil.copytree(speech / split / f"{split}1/deep", folder)
    assert (
        "2 speakers and 6 folders below" in command(capsys, "--data", speech)[1]
    )
    _, page = command(capsys, "--data", speech, "--speaker_level", "1")
    assert "are those the speakers" not in page
    line = next(line for line in page.splitlines() if " valid" in line)
    assert line.split()[:2] == ["valid", "5"]


def test_mixtures_are_no_speech(speech):
    for name in ("mixture", "s1", "s2"):
        shutil.copy(
            speech / UTTERANCE, speech / f"train/train1/deep/{name}.wav"
        )
    with refused("a mixture and its sources"):
        found(speech)


def test_flat_speech(speech):
    for number, speaker in enumerate(sorted(speech.glob("*/*"))):
        speaker.rename(speech / f"p{number}")
    for split in ("train", "valid", "test"):
        (speech / split).rmdir()
    assert found(speech) == set()
    shutil.rmtree(speech / "p0")
    assert found(speech) == {(Kind.NO_SPEAKERS, ".")}


def speech_stereo_sphere(speech):
    write_sphere(speech / "test/test1/x.wv1", np.ones((9000, 2)))
    return {(Kind.STEREO, "test/test1/x.wv1")}


def speech_copy(speech):
    shutil.copy(speech / UTTERANCE, speech / "train/train1/z.wav")
    return {(Kind.COPY, "train/train1/z.wav")}


def speech_copy_elsewhere(speech):
    shutil.copy(speech / UTTERANCE, speech / "test/test2/copy.wav")
    return {(Kind.COPY_ELSEWHERE, "test/test2/copy.wav")}


def speech_shared_speaker(speech):
    (speech / "test/test1").rename(speech / "test/train1")
    return {(Kind.SHARED_SPEAKER, "speaker train1")}


def speech_few(speech):
    shutil.rmtree(speech / "valid/valid1")
    return {(Kind.NO_SPEAKERS, "valid")}


def speech_no_split(speech):
    shutil.rmtree(speech / "valid")
    return {(Kind.NO_SPLIT, "valid")}


def test_locked_folder_of_speech(speech, lock):
    shutil.copytree(speech / "train/train1", speech / "train/train3/locked")
    lock("locked")
    place = str(speech / "train/train3/locked")
    wanted = (Kind.UNREADABLE_FOLDER, place, "Permission denied")
    assert run(speech).problems == [wanted]


@pytest.mark.parametrize("suffix", [".wav", ".WV1", ".sph", ".flac"])
def test_sphere_files_of_any_suffix(speech, suffix):
    """It is known by what it holds; so is a wav file that has its name."""
    samples = np.random.default_rng(9).integers(-900, 900, 9000)
    path = speech / f"test/test1/x{suffix}"
    write_sphere(path, samples)
    assert found(speech) == set()
    soundfile.write(path, samples.astype(np.int16), 8000, format="WAV")
    assert found(speech) == set()
    write_shortened(path, samples)
    wanted = set() if find_decoder() else {(Kind.NO_DECODER, path.name)}
    assert {(k, os.path.basename(w)) for k, w in found(speech)} == wanted


SPEECH_BY_NAME = (speech_shared_speaker, speech_few, speech_no_split)


@pytest.mark.parametrize(
    "plant",
    [
        planted(cut, Kind.UNREADABLE, UTTERANCE),
        *(speech_stereo_sphere, speech_copy, speech_copy_elsewhere),
        *SPEECH_BY_NAME,
    ],
    ids=lambda plant: plant.__name__,
)
def test_planted_fault_in_speech_is_named(speech, capsys, monkeypatch, plant):
    wanted = plant(speech)
    assert found(speech) == wanted
    page_naming(wanted, capsys, "--data", speech)
    if plant in SPEECH_BY_NAME:
        monkeypatch.setattr(doctor_speech, "SAMPLE", 0)
        assert found(speech, quick=True) == wanted


# WSJ0


KEY = "11-1.1/WSJ0/SI_TR_S/40N/40NA010X"


def tone(number, seconds=0.5):
    """A tone of 16 kHz with a mean square of 0.02, different for each."""
    steps = np.arange(round(seconds * 16000))
    samples = 0.2 * np.sin(2 * np.pi * (400 + 10 * number) / 16000 * steps)
    return np.round(samples * 32768).astype(np.int16)


@pytest.fixture
def wsj0(tmp_path, monkeypatch):
    """Two utterances a folder, in the case and nesting of the discs."""
    places = [
        *(KEY, "11-1.1/WSJ0/SI_TR_S/01X/01XO031A"),
        *("11-6.1/wsj0/si_dt_05/22g/22gc0105", "x/si_dt_05/420/420c020h"),
        *("si_et_05/445/445c0206", "si_et_05/442/442c0203"),
    ]
    for number, place in enumerate(places):
        path = tmp_path / "discs" / f"{place}.WV1"
        write_sphere(path, tone(number))
        write_sphere(path.with_suffix(".wv2"), tone(number) // 2)
    official = {"si_tr_s": 2, "si_dt_05": 2, "si_et_05": 2}
    monkeypatch.setattr(doctor_wsj0, "OFFICIAL", official)
    return tmp_path / "discs"


@pytest.fixture
def levels(tmp_path):
    """The table of the tones' levels: half their squared amplitude."""
    folder = tmp_path / "levels"
    folder.mkdir()
    names = "40na010x 01xo031a 22gc0105 420c020h 445c0206 442c0203"
    lines = [f"{name} 2.0e-02\n" for name in names.split()]
    (folder / "activlev_si_tr_s.txt").write_text("".join(lines))
    return folder


def test_healthy_wsj0(wsj0, levels, capsys):
    status, page = command(capsys, "--data", wsj0, "--levels", levels)
    assert status == 0 and page.endswith("\nOK\n")
    line = next(line for line in page.splitlines() if "si_dt_05" in line)
    assert line.split() == "si_dt_05 2 2 2 0.0 wv1 PCM_16: 2".split()
    assert found(wsj0, quick=True) == set()


def test_published_counts(wsj0, monkeypatch):
    """2 of 3 is an unfinished copy where 60 % are almost all, 2 of 30 not."""
    monkeypatch.setattr(examiner, "ALMOST", 0.6)
    official = {"si_tr_s": 3, "si_dt_05": 30, "si_et_05": 2}
    monkeypatch.setattr(doctor_wsj0, "OFFICIAL", official)
    report = run(wsj0)
    (problem,) = report.problems
    assert problem == Problem(Kind.INCOMPLETE, "si_tr_s", "2 of 3 utterances")
    assert report.notes == ["si_dt_05 has 2 of 30 utterances"]


def wsj0_only_wv2(wsj0):
    (wsj0 / f"{KEY}.WV1").unlink()
    return {(Kind.ONLY_WV2, f"{KEY}.wv2")}


def wsj0_wav_of_wv2(wsj0):
    write(wsj0 / f"{KEY}.wav", tone(0) // 2, 16000)
    write(wsj0 / "si_et_05/442/442c0203.wav", tone(5), 16000)  # of .wv1
    return {(Kind.WAV_OF_WV2, f"{KEY}.wav")}


def wsj0_wav_of_wv2_alone(wsj0):
    (wsj0 / f"{KEY}.WV1").unlink()
    write(wsj0 / f"{KEY}.wav", tone(0) // 2, 16000)
    return {(Kind.WAV_OF_WV2, f"{KEY}.wav")}


@pytest.mark.parametrize("padding, same", [(1023, True), (1024, False)])
def test_wav_of_wv2_may_be_padded(wsj0, padding, same):
    """The block of a disc or more is no padding."""
    write(wsj0 / f"{KEY}.wav", np.pad(tone(0) // 2, (0, padding)), 16000)
    wanted = {(Kind.WAV_OF_WV2, f"{KEY}.wav")} if same else set()
    assert found(wsj0) == wanted


def test_locked_folder_of_wsj0(wsj0, lock, caplog):
    """What may be in it is not known; that is a problem."""
    lock("22g")
    (problem,) = run(wsj0).problems
    place = str(wsj0 / "11-6.1/wsj0/si_dt_05/22g")
    assert problem == (Kind.UNREADABLE_FOLDER, place, "Permission denied")
    assert not caplog.records


def test_each_folder_is_listed_once(wsj0, monkeypatch):
    """The discs may be on a slow disk."""
    walk, walks = files.walk, []

    def count(folder, *args):
        walks.append(folder)
        return walk(folder, *args)

    monkeypatch.setattr(wsj0_module, "walk", count)
    run(wsj0)
    assert walks == [str(wsj0)]


def silent_sphere(path):
    write_sphere(path, np.zeros(8000))


def wsj0_level(wsj0):
    """Only a .wav is there, and it is that of the second microphone."""
    for suffix in (".WV1", ".wv2"):
        (wsj0 / f"{KEY}{suffix}").unlink()
    write(wsj0 / f"{KEY}.wav", tone(0) // 2, 16000)
    return {(Kind.WRONG_LEVEL, f"{KEY}.wav")}


@pytest.mark.parametrize(
    "plant",
    [
        planted(cut, Kind.UNREADABLE, f"{KEY}.WV1"),
        planted(silent_sphere, Kind.SILENT, f"{KEY}.WV1"),
        *(wsj0_only_wv2, wsj0_wav_of_wv2, wsj0_wav_of_wv2_alone),
        wsj0_level,
    ],
    ids=lambda plant: plant.__name__,
)
def test_planted_fault_in_wsj0_is_named(wsj0, levels, capsys, plant):
    wanted = plant(wsj0)
    options = {"levels": levels} if plant is wsj0_level else {}
    assert found(wsj0, **options) == wanted
    page = page_naming(wanted, capsys, "--data", wsj0, "--levels", levels)
    if plant is wsj0_level:
        measured = float(re.search(r"\((-[\d.]+) dB\)", page)[1])
        assert measured == pytest.approx(-6.0, abs=0.3)


def test_levels_of_good_files_are_within_the_tolerance(wsj0, levels):
    """2.6 dB are no problem, 3.4 dB are one."""
    for offset, count in ((2.6, 0), (3.4, 6), (-2.6, 0), (-3.4, 6)):
        table = levels / "activlev_si_tr_s.txt"
        level = 0.02 * 10 ** (offset / 10)
        names = [line.split()[0] for line in table.read_text().splitlines()]
        table.write_text("".join(f"{name} {level}\n" for name in names))
        assert len(run(wsj0, levels).problems) == count


def test_no_decoder(wsj0, monkeypatch, tmp_path):
    """Without a program, each compressed file is named; with one, none."""
    write_shortened(wsj0 / f"{KEY}.WV1", tone(0))
    if find_decoder() is not None:
        assert found(wsj0) == set()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert found(wsj0) == {(Kind.NO_DECODER, f"{KEY}.WV1")}
    assert found(wsj0, quick=True) == {(Kind.NO_DECODER, f"{KEY}.WV1")}
    (fact,) = [line for line in run(wsj0).facts if "si_tr_s" in line]
    assert "wv1 SHORTEN: 1" in fact


def test_cut_compressed_file(wsj0):
    if find_decoder() is None:
        pytest.skip("no decoder of shorten: pip install imageio-ffmpeg")
    path = wsj0 / f"{KEY}.WV1"
    write_shortened(path, tone(0))
    path.write_bytes(path.read_bytes()[:-2000])
    assert found(wsj0) == {(Kind.UNREADABLE, f"{KEY}.WV1")}
