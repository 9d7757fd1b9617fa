"""Streams of samples: from files and memory, at any rate."""

import numpy as np
import pytest
import soundfile
from sounds import RATE, noise, write

from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.inference import recordings
from dpcl_dprnn.inference.recordings import (
    FileRecording,
    SignalRecording,
    count_frames,
    resampled,
)


def whole(blocks):
    return np.concatenate(list(blocks), axis=-1)


@pytest.fixture(params=["file", "memory"])
def record(request, tmp_path):
    """Make a recording of samples, either way."""

    def make(samples, rate=RATE, **options):
        if request.param == "memory":
            return SignalRecording(samples, rate, **options)
        path = write(tmp_path / "recording.wav", samples, rate)
        return FileRecording(path, **options)

    return make


@pytest.mark.parametrize("length", [1, 7999, 8000, 8001, 30000])
def test_blocks_are_the_samples(record, length):
    samples = noise(length)
    recording = record(samples)
    assert (recording.rate, recording.frames) == (RATE, length)
    assert np.array_equal(whole(recording.blocks()), samples)
    assert max(map(len, recording.blocks())) <= RATE  # a second


def test_pieces(record):
    samples = noise(30000)
    starts = [123, 5000, 21000]  # the first two have samples in common
    pieces = list(record(samples).pieces(starts, 9000))
    for start, piece in zip(starts, pieces, strict=True):
        assert np.array_equal(piece, samples[start : start + 9000])


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged_or_chosen(record, channels):
    samples = noise(9000, channels)
    mean = whole(record(samples).blocks())
    assert mean == pytest.approx(samples.mean(axis=1), abs=1e-7)
    last = whole(record(samples, channel=channels - 1).blocks())
    assert np.array_equal(last, samples[:, -1])


@pytest.mark.parametrize("channel", [2, -1, 1.0, True, "left"])
def test_a_channel_that_is_not_there(record, channel):
    with pytest.raises(UserError, match="has 2 channels, counted from 0"):
        record(noise(100, 2), channel=channel)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2e6])
def test_samples_that_are_no_sound(record, value):
    samples = noise(20000)
    samples[15000] = value
    with pytest.raises(UserError, match="NaN, infinite or beyond"):
        whole(record(samples).blocks())


@pytest.mark.filterwarnings("error")
def test_infinities_of_either_sign_are_refused_in_quiet(record):
    samples = noise(9000, 2)
    samples[100] = np.inf, -np.inf
    with pytest.raises(UserError, match="NaN, infinite or beyond"):
        whole(record(samples).blocks())


def test_what_another_channel_holds_is_no_matter(record):
    samples = noise(9000, 2)
    samples[100, 0] = np.nan
    got = whole(record(samples, channel=1).blocks())
    assert np.array_equal(got, samples[:, 1])


@pytest.mark.parametrize(
    "samples",
    [np.zeros(0), np.zeros((3, 0)), np.zeros((2, 2, 2)), np.float32(1)],
)
def test_signals_of_a_shape_that_is_no_sound(samples):
    with pytest.raises(UserError, match="has the shape"):
        SignalRecording(samples, RATE)


@pytest.mark.parametrize("shape", [(1, 8000), (2, 8000), (2, 3)])
def test_channels_first_are_refused(shape):
    with pytest.raises(UserError, match="more channels.*Transpose it"):
        SignalRecording(np.zeros(shape), RATE)


def test_integers_have_no_full_scale():
    with pytest.raises(UserError, match="int16"):
        SignalRecording(np.zeros(5, np.int16), RATE)


@pytest.mark.parametrize("rate", [0, -8000, 44.1, True])
def test_a_rate_that_is_none(rate):
    with pytest.raises(UserError, match="sampling rate"):
        SignalRecording(noise(5), rate)


def test_an_empty_file(tmp_path):
    path = tmp_path / "empty.wav"
    path.touch()
    with pytest.raises(UserError, match="empty.wav is empty"):
        FileRecording(path)
    soundfile.write(path, noise(0), RATE)
    with pytest.raises(UserError, match="empty.wav is empty"):
        FileRecording(path)


def test_a_file_that_does_not_say_how_long_it_is(tmp_path):
    path = tmp_path / "streamed.flac"
    soundfile.write(path, noise(5000), RATE)
    content = bytearray(path.read_bytes())
    # The number of samples: 36 bits, here as ffmpeg writes them to a pipe.
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)
    recording = FileRecording(path)
    assert recording.frames == 5000 and not recording.warnings
    assert whole(recording.blocks()) == pytest.approx(noise(5000), abs=1e-4)


def test_a_file_that_ends_too_early(tmp_path):
    path = tmp_path / "cut.flac"
    soundfile.write(path, noise(50000), RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cut.flac"):
        whole(FileRecording(path).blocks())


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "DOUBLE"])
def test_files_of_any_sample_format(subtype, tmp_path):
    path = tmp_path / "any.wav"
    samples = noise(500)
    soundfile.write(path, samples, RATE, subtype=subtype)
    error = np.abs(whole(FileRecording(path).blocks()) - samples).max()
    assert error < (0.01 if subtype == "PCM_U8" else 1e-4)


# Resampling


def tone(rate, frequency=440.0, seconds=2.5):
    time = np.arange(round(seconds * rate)) / rate
    return np.sin(2 * np.pi * frequency * time).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000, 96000])
def test_a_tone_stays_the_same_tone(record, rate):
    recording = record(tone(rate), rate)
    frames = count_frames(recording.frames, rate, RATE)
    got = whole(resampled(recording.blocks(), rate, RATE, frames))
    assert len(got) == 20000
    inner = slice(400, -400)
    assert np.abs(got - tone(RATE))[inner].max() < 1e-3


def test_what_the_lower_rate_cannot_have_is_removed():
    high = tone(48000, frequency=6000.0)
    got = whole(resampled([high], 48000, RATE))
    assert np.abs(got[400:-400]).max() < 1e-3


@pytest.mark.parametrize("rates", [(8000, 44100), (44100, 8000), (3, 7)])
@pytest.mark.parametrize("voices", [None, 1, 3])
def test_blocks_make_no_difference(rates, voices):
    signal = noise(9000) if voices is None else noise(9000, voices).T
    parts = np.split(signal, [1, 700, 8999], axis=-1)
    once, often = (
        whole(resampled([signal], *rates)),
        whole(resampled(parts, *rates)),
    )
    assert once.shape == often.shape and once.ndim == signal.ndim
    assert once == pytest.approx(often, abs=1e-6)


@pytest.mark.parametrize("rate", [RATE, 44100])
@pytest.mark.parametrize("voices", [None, 0, 1, 2])
def test_as_many_frames_as_wanted(rate, voices):
    signal = noise(900) if voices is None else noise(900, 2).T[:voices]
    for frames in (1, 899, 900, 901, 7000):
        got = whole(resampled([signal], RATE, rate, frames))
        assert got.shape == (*signal.shape[:-1], frames)


def test_there_and_back_again():
    signal = tone(44100, 300.0)
    there = resampled([signal], 44100, RATE)
    back = whole(resampled(there, RATE, 44100, len(signal)))
    assert np.abs(back - signal)[2000:-2000].max() < 1e-3


def test_count_frames_covers_the_whole():
    assert count_frames(1, 44100, RATE) == 1
    assert count_frames(44100, 44100, RATE) == RATE
    assert count_frames(44101, 44100, RATE) == RATE + 1


def test_memory_holds_a_second_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "BLOCK", 0.01)
    path = tmp_path / "long.wav"
    soundfile.write(path, noise(8000), RATE)
    assert max(map(len, FileRecording(path).blocks())) == 80
