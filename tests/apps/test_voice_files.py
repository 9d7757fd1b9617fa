"""Voices to files: all of them or none, and never clipped."""

import errno
import io
import os
import pathlib

import numpy as np
import pytest
import soundfile

from dpcl_dprnn.apps import voice_files
from dpcl_dprnn.apps.voice_files import (
    write_together,
    write_voices,
    written_before,
)
from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.inference.separator import VoiceStream

RATE = 8000
FORMATS = pytest.mark.parametrize("format", ["wav", "flac"])


def voices_of(count=2, length=5000, level=0.1):
    rng = np.random.default_rng(0)
    return (level * rng.standard_normal((count, length))).astype(np.float32)


def stream_of(voices):
    blocks = np.array_split(voices, 7, axis=1)
    return VoiceStream(RATE, len(voices), None, iter(blocks))


def write(folder, voices, format="wav", name="mixture"):
    stream = stream_of(voices)
    paths, _ = write_voices(stream, voices.shape[1], folder, name, format)
    return paths


@FORMATS
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_file_for_each_voice(count, format, tmp_path):
    voices = voices_of(count)
    paths = write(tmp_path / "deep" / "down", voices, format)
    names = [f"mixture_s{n + 1}.{format}" for n in range(count)]
    assert [path.name for path in paths] == names
    assert sorted(os.listdir(tmp_path / "deep" / "down")) == names
    for path, voice in zip(paths, voices, strict=True):
        got, rate = soundfile.read(path, dtype="float32")
        assert rate == RATE
        assert got == pytest.approx(voice, abs=1e-6)


def test_wav_files_cannot_clip(tmp_path):
    voices = voices_of(level=5.0)
    for path, voice in zip(write(tmp_path, voices), voices, strict=True):
        assert soundfile.info(path).subtype == "FLOAT"
        assert np.array_equal(soundfile.read(path, dtype="float32")[0], voice)


def test_flac_files_are_turned_down_alike(tmp_path):
    voices = voices_of(level=0.1)
    voices[1, 77] = -4.0
    paths = write(tmp_path, voices, "flac")
    got = np.stack([soundfile.read(p, dtype="float32")[0] for p in paths])
    assert soundfile.info(paths[0]).subtype == "PCM_24"
    assert np.abs(got).max() == pytest.approx(0.999, abs=1e-4)
    assert got == pytest.approx(voices * 0.999 / 4, abs=1e-5)


@FORMATS
def test_voices_together(format):
    voices = voices_of(3)
    file = io.BytesIO()
    write_together(stream_of(voices), voices.shape[1], file, format)
    got, rate = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32")
    assert rate == RATE
    assert got.T == pytest.approx(voices, abs=1e-6)


class FullDisk(io.BytesIO):
    def write(self, _):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "file, format, rate",
    [(FullDisk(), "wav", RATE), (io.BytesIO(), "flac", 1_000_000)],
)
def test_voices_that_cannot_be_written_together(file, format, rate):
    stream = VoiceStream(rate, 2, None, [voices_of()])
    with pytest.raises(UserError, match="^Cannot write standard out") as caught:
        write_together(stream, 5000, file, format)
    assert "\n" not in str(caught.value)


def test_a_reader_who_has_gone_is_no_error_of_writing():
    reader, writer = os.pipe()
    os.close(reader)
    voices = voices_of(length=100_000)
    with pytest.raises(BrokenPipeError), open(writer, "wb", 0) as file:
        write_together(stream_of(voices), voices.shape[1], file)


def test_nobody_together():
    with pytest.raises(UserError, match="Nobody speaks"):
        write_together(stream_of(voices_of(0)), 5000, io.BytesIO())


def test_large_files_have_the_form_for_them(tmp_path, monkeypatch):
    monkeypatch.setattr(voice_files, "LARGE", 1000)
    for path in write(tmp_path, voices_of()):
        assert soundfile.info(path).format == "RF64"


@FORMATS
def test_a_stream_that_breaks_leaves_nothing(format, tmp_path):
    def blocks():
        yield voices_of()
        raise UserError("the file is cut")

    stream = VoiceStream(RATE, 2, None, blocks())
    (tmp_path / "mixture_s1.wav").write_bytes(b"old")
    with pytest.raises(UserError, match="the file is cut"):
        write_voices(stream, 10000, tmp_path, "mixture", format)
    assert os.listdir(tmp_path) == ["mixture_s1.wav"]
    assert (tmp_path / "mixture_s1.wav").read_bytes() == b"old"


@pytest.mark.parametrize("kind", ["file in the way", "disk full", "format"])
def test_what_cannot_be_written_is_one_error(kind, tmp_path, monkeypatch):
    folder, format, rate = tmp_path / "out", "wav", RATE
    if kind == "file in the way":
        folder.touch()
    elif kind == "disk full":

        class Full(soundfile.SoundFile):
            def write(self, _):
                raise soundfile.LibsndfileError(2)  # System error

        monkeypatch.setattr(voice_files.soundfile, "SoundFile", Full)
    else:
        format, rate = "flac", 1_000_000  # more than FLAC can have
    voices = voices_of()
    stream = VoiceStream(rate, 2, None, [voices])
    with pytest.raises(UserError, match="Cannot write") as caught:
        write_voices(stream, voices.shape[1], folder, "mixture", format)
    assert "\n" not in str(caught.value)
    assert not folder.is_dir() or os.listdir(folder) == []


def test_written_before(tmp_path):
    for name in (
        *("a_s1.wav", "a_s10.wav", "a_s1.flac", "a_s.wav", "ab_s1.wav"),
        *("a_s1_s1.wav", "a.wav", "xa_s1.wav", "a_s0.wav"),
    ):
        (tmp_path / name).touch()
    found = [path.name for path in written_before(tmp_path, "a", "wav")]
    assert found == ["a_s1.wav", "a_s10.wav"]
    assert written_before(tmp_path, "c", "wav") == []
    assert written_before(tmp_path / "none", "a", "wav") == []


def test_an_output_folder_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="File name too long"):
        written_before(tmp_path / ("a" * 300), "a", "wav")

    def locked(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "iterdir", locked)
    with pytest.raises(UserError, match="Permission denied. Choose"):
        written_before(tmp_path, "a", "wav")
