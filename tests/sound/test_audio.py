"""Files are whole or absent; what is wrong with one is said by name."""

import errno
import math
import os
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
from planting import not_finite, not_sound, stereo
from refusals import refused

from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.common.files import atomic_path, write_text
from dpcl_dprnn.sound.audio import audio_info, read_audio, resample, write_wav

RATE = 8000


@pytest.mark.parametrize(
    "error, told",
    [
        (ValueError(), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(errno.ENOSPC, "No space"), UserError),
    ],
)
def test_exception_leaves_the_old_file_and_nothing_else(error, told, tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(told), atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "number, advice",
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "Free some space"),
        (errno.EFBIG, "Free some space"),
        (errno.EACCES, "Choose a folder that you may write in"),
        (errno.EROFS, "Choose a folder that you may write in"),
        (errno.EIO, "Check the disk"),
    ],
)
def test_advice_fits_the_error(tmp_path, number, advice):
    with refused() as caught:
        with atomic_path(tmp_path / "file.txt"):
            raise OSError(number, os.strerror(number))
    text = str(caught.value)
    assert text.startswith(f"Cannot write {tmp_path}/file.txt: ")
    assert os.strerror(number) in text and advice in text
    assert ("Free" in advice) == ("Free" in text) and ".." not in text


def test_success_replaces_the_file(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    for text in ("one", "two: Grüße"):
        write_text(path, text)
        assert path.read_text(encoding="utf-8") == text
        assert list(path.parent.iterdir()) == [path]


def test_file_is_as_readable_as_any_other(tmp_path):
    write_text(tmp_path / "atomic", "")
    (tmp_path / "plain").write_text("")
    modes = [(tmp_path / name).stat().st_mode for name in ("atomic", "plain")]
    assert modes[0] == modes[1]


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with refused("Cannot write .*out.txt.* in its way"):
        write_text(tmp_path / "file" / "out.txt", "")


def test_int16_round_trip_is_exact(tmp_path):
    samples = np.array([-32768, -1, 0, 1, 32767], dtype=np.int16)
    write_wav(tmp_path / "a.wav", samples, RATE)
    stored, rate = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert np.array_equal(stored, samples)
    assert rate == RATE
    read, rate = read_audio(tmp_path / "a.wav", RATE)
    assert read.dtype == np.float32
    assert np.array_equal(read * 32768, samples)
    assert rate == RATE


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_round_trip_is_within_half_a_step(dtype, tmp_path):
    samples = np.random.default_rng(0).uniform(-0.99, 0.99, 500).astype(dtype)
    write_wav(tmp_path / "a.wav", samples, RATE)
    read, _ = read_audio(tmp_path / "a.wav")
    assert np.abs(read - samples).max() <= 0.5 / 32768 + 1e-7
    write_wav(tmp_path / "b.wav", read, RATE)
    assert np.array_equal(read_audio(tmp_path / "b.wav")[0], read)


def test_loud_samples_are_limited_and_do_not_wrap(tmp_path):
    write_wav(tmp_path / "a.wav", np.array([1.0, -1.0, 2.0, -2.0]), RATE)
    stored, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert stored.tolist() == [32767, -32768, 32767, -32768]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_piece_of_a_file(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    samples = np.arange(100, dtype=np.int16)
    soundfile.write(path, samples, RATE)
    for start, frames, expected in (
        (0, -1, samples),
        (10, 20, samples[10:30]),
        (90, -1, samples[90:]),
        (0, 0, samples[:0]),
    ):
        read, _ = read_audio(path, RATE, start, frames)
        assert np.array_equal(read * 32768, expected)
    assert audio_info(path).frames == 100


def other_rate(path):
    soundfile.write(path, np.zeros(100), 16000)


def infinite(path):
    soundfile.write(path, [0.0, np.inf, 0.0], RATE, subtype="FLOAT")


@pytest.mark.parametrize(
    "damage, message",
    [
        (Path.unlink, "does not exist"),
        (not_sound, "Cannot read"),
        (lambda path: path.write_bytes(b""), "Cannot read"),
        (lambda path: path.unlink() or path.mkdir(), "Cannot read"),
        (stereo, "2 channels"),
        (other_rate, "16000 Hz, but 8000 Hz"),
        (not_finite, "NaN"),
        (infinite, "NaN or infinite"),
    ],
)
def test_bad_file_is_named(damage, message, tmp_path):
    path = tmp_path / "bad.wav"
    soundfile.write(path, np.zeros(100), RATE)
    damage(path)
    readers = [lambda path: read_audio(path, RATE)]
    if message == "Cannot read":  # its header, either
        readers.append(audio_info)
    for read in readers:
        with refused(message, str(path)) as caught:
            read(path)
        assert ".." not in str(caught.value)


def test_file_shorter_than_the_piece_asked_for(tmp_path):
    path = tmp_path / "a.wav"
    write_wav(path, np.zeros(100), RATE)
    with refused("a.wav is truncated"):
        read_audio(path, RATE, start=50, frames=60)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_truncated_file(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    noise = np.random.default_rng(0).uniform(-1, 1, 20000)
    soundfile.write(path, noise, RATE)
    path.write_bytes(path.read_bytes()[:-10000])
    with refused(path.name):
        read_audio(path, RATE)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_one_channel(suffix, channels, tmp_path):
    path = tmp_path / f"a{suffix}"
    samples = np.arange(300, dtype=np.int16).reshape(-1, channels)
    soundfile.write(path, samples, RATE)
    for channel in range(channels):
        read, rate = read_audio(path, RATE, 5, 20, channel=channel)
        assert read.dtype == np.float32 and rate == RATE
        assert np.array_equal(read * 32768, samples[5:25, channel])


def test_other_channels_need_one_to_be_named(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((100, 2)), 16000)
    with refused("a.wav has 2 channels"):
        read_audio(path)
    with refused("16000 Hz, but 8000 Hz"):
        read_audio(path, RATE, channel=1)


RATES = [
    (8000, 8000),
    (16000, 8000),
    (8000, 16000),
    (22050, 8000),
    (44100, 16000),
]


@pytest.mark.parametrize("rate, wanted", RATES)
@pytest.mark.parametrize("count", [1, 999, 4001])
def test_resample_is_matlabs(rate, wanted, count):
    """SciPy has the same filter by default, designed at every call."""
    samples = np.random.default_rng(0).standard_normal(count)
    changed = resample(samples, rate, wanted)
    expected = scipy.signal.resample_poly(samples, wanted, rate)
    assert len(changed) == math.ceil(count * wanted / rate)
    np.testing.assert_allclose(changed, expected, atol=1e-12)
    # Once more, with what was kept.
    np.testing.assert_array_equal(resample(samples, rate, wanted), changed)
