"""Trained separators at work: the same voices by every way to them."""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from sounds import RATE, noise, write

import dpcl_dprnn
from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.common.precision import use_tf32
from dpcl_dprnn.inference import loading
from dpcl_dprnn.inference import separator as inference
from dpcl_dprnn.inference.recordings import SignalRecording
from dpcl_dprnn.sound.audio import resample
from dpcl_dprnn.sound.rumble import without_rumble

HEADS = pytest.mark.parametrize("head", ["masks", "kmeans"])


def test_what_it_says_of_itself(separator, three):
    assert (separator.num_spks, three.num_spks) == (2, 3)
    assert separator.sample_rate == RATE
    assert separator.heads == ("masks", "kmeans")
    assert separator.counts


@HEADS
@pytest.mark.parametrize("length", [1, 31, 800, 12345])
def test_all_ways_agree(length, head, separator, tmp_path):
    signal = noise(length)
    batch = torch.from_numpy(signal)[None]
    voices = separator.separate_batch(batch, head=head)
    assert voices.shape == (1, length, 2)
    path = write(tmp_path / "mixture.wav", signal)
    others = [
        separator.separate_file(path, head=head),
        torch.from_numpy(
            separator.separate_signal(signal, RATE, head=head).waveforms.T
        )[None].to(voices),
    ]
    if head == "masks":
        others.append(separator(batch))
    for other in others:
        torch.testing.assert_close(other, voices, atol=1e-5, rtol=0)


def test_bf16_is_another_precision_of_the_same(separator, load, model_folder):
    """Within its 8 bits, and not the same to the bit."""
    coarse = load(model_folder, "bf16")
    mixture = torch.from_numpy(noise(8000)[None])
    fine = separator.separate_batch(mixture)
    error = coarse.separate_batch(mixture) - fine
    ratio = error.square().sum() / fine.square().sum()
    assert 1e-8 < ratio < 1e-3


@HEADS
def test_voices_sum_to_the_mixture(head, separator, three):
    signal = torch.from_numpy(noise(9000))[None]
    for each in (separator, three):
        for n_spks in range(1, each.num_spks + 1):
            voices = each.separate_batch(signal, n_spks, head)
            total = voices.sum(dim=-1).cpu()
            wanted = torch.from_numpy(without_rumble(signal.numpy(), RATE))
            torch.testing.assert_close(total, wanted, atol=1e-5, rtol=0)


def test_a_batch_is_separated_one_by_one(three):
    mixtures = torch.from_numpy(np.stack([noise(900, seed=n) for n in (1, 2)]))
    both = three.separate_batch(mixtures)
    for index in range(2):
        alone = three.separate_batch(mixtures[index : index + 1])
        torch.testing.assert_close(
            both[index : index + 1], alone, atol=1e-5, rtol=0
        )


def test_auto_pads_with_silent_voices(three, monkeypatch):
    answers = iter([(1, 0.9), (3, 0.8)])
    monkeypatch.setattr(type(three.unmixer), "count", lambda *_: next(answers))
    voices = three.separate_batch(
        torch.from_numpy(noise(1600)).view(2, -1), "auto"
    )
    assert voices.shape == (2, 800, 3)
    assert voices[0, :, 0].any() and not voices[0, :, 1:].any()
    assert voices[1].any(dim=0).all()


@pytest.mark.parametrize("n_spks, count", [(None, 2), (1, 1), ("auto", None)])
def test_count_and_confidence_come_back(n_spks, count, separator):
    voices = separator.separate_signal(noise(4000), RATE, n_spks)
    assert voices.count == len(voices.waveforms) == (count or voices.count)
    assert (voices.confidence is None) == (n_spks != "auto")
    if n_spks == "auto":
        assert 0 < voices.confidence <= 1


def test_what_to_expect_is_told_of_windows_and_of_the_whole(
    separator, monkeypatch
):
    slope, intercept = line = [-8.0, 9.0]
    unmixer = dataclasses.replace(
        separator.unmixer, expected_improvement={"masks": line}
    )
    monkeypatch.setattr(separator, "unmixer", unmixer)
    signal = noise(3 * RATE)
    whole = separator.separate_signal(signal, RATE, head="masks")
    assert intercept + slope < whole.expected_si_snr_i < intercept
    monkeypatch.setattr(inference, "WINDOW", 1.0)
    monkeypatch.setattr(inference, "OVERLAP", 0.2)
    windows = separator.separate_signal(signal, RATE, head="masks")
    assert windows.expected_si_snr_i != whole.expected_si_snr_i
    assert windows.expected_si_snr_i == pytest.approx(
        whole.expected_si_snr_i, abs=0.5
    )
    for n_spks, head in ((1, "masks"), (2, "kmeans")):  # one voice; no line
        voices = separator.separate_signal(signal, RATE, n_spks, head)
        assert voices.expected_si_snr_i is None


def test_more_voices_than_outputs(separator, monkeypatch):
    """By k-means: of batches, of the whole and of windows."""
    signal = noise(3 * RATE)
    batch = separator.separate_batch(torch.from_numpy(signal)[None], n_spks=3)
    assert batch.shape == (1, len(signal), 3)
    whole = separator.separate_signal(signal, RATE, 3).waveforms
    monkeypatch.setattr(inference, "WINDOW", 1.0)
    monkeypatch.setattr(inference, "OVERLAP", 0.2)
    windows = separator.separate_signal(signal, RATE, 3).waveforms
    assert whole.shape == windows.shape == (3, len(signal))
    assert all(np.abs(voice).max() > 0 for voice in (*whole, *windows))


def test_silence(separator):
    silence = np.zeros(500, np.float32)
    voices = separator.separate_signal(silence, RATE)
    assert voices.waveforms.shape == (2, 500) and not voices.waveforms.any()
    voices = separator.separate_signal(silence, RATE, "auto")
    assert voices.waveforms.shape == (0, 500) and voices.confidence == 1.0


# Rates, channels, levels, lengths


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 96000])
def test_voices_have_the_rate_and_length_of_the_file(rate, separator, tmp_path):
    low = noise(2000).astype(float)  # without what 8 kHz cannot have
    signal = resample(low, 4000, rate)[: rate // 2 - 3]
    path = write(tmp_path / "mixture.wav", signal, rate)
    voices = separator.separate_file(path)
    assert voices.shape == (1, len(signal), 2)
    total = voices.sum(dim=-1)[0].cpu().numpy()
    inner = slice(rate // 20, -rate // 20)  # a filter needs both sides
    wanted = without_rumble(signal, rate)
    assert np.abs(total - wanted)[inner].max() < 0.02
    correlation = np.corrcoef(total[inner], wanted[inner])[0, 1]
    assert correlation > 0.99


def test_rate_of_the_voices_may_be_chosen(separator, tmp_path):
    path = write(tmp_path / "mixture.wav", noise(16000), 16000)
    voices = separator.separate_file(path, sample_rate=8000)
    assert voices.shape == (1, 8000, 2)


@pytest.mark.parametrize("rate", [0, -8000, 2_000_000])
def test_rates_of_the_voices_that_make_no_sense(rate, separator, tmp_path):
    path = write(tmp_path / "mixture.wav", noise(100))
    with pytest.raises(UserError, match="sampling rate"):
        separator.separate_file(path, sample_rate=rate)


def test_channels_are_averaged_or_chosen(separator, tmp_path):
    signal = noise(4000, channels=3)
    path = write(tmp_path / "mixture.wav", signal)
    mean = separator.separate_file(path).sum(dim=-1)[0].cpu().numpy()
    wanted = without_rumble(signal.mean(axis=1), RATE)
    assert mean == pytest.approx(wanted, abs=1e-5)
    last = separator.separate_file(path, channel=2).sum(dim=-1)[0]
    wanted = without_rumble(signal[:, 2], RATE)
    assert last.cpu().numpy() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("gain", [1e-5, 50.0])
def test_level_is_kept_and_nothing_clips(gain, separator):
    signal = noise(4000)
    voices = separator.separate_signal(signal, RATE).waveforms
    scaled = separator.separate_signal(gain * signal, RATE).waveforms
    assert scaled / gain == pytest.approx(voices, abs=1e-4)


# Long recordings


@pytest.fixture
def short_windows(monkeypatch):
    """Windows of seconds, so that tests need no minutes."""
    monkeypatch.setattr(inference, "WINDOW", 2.0)
    monkeypatch.setattr(inference, "OVERLAP", 0.5)


@HEADS
@pytest.mark.parametrize("rate", [RATE, 11025])
def test_long_recordings_are_whole(rate, head, separator, short_windows):
    signal = noise(7 * rate + 11)
    voices = separator.separate_signal(signal, rate, head=head)
    assert voices.waveforms.shape == (2, len(signal))
    if rate == RATE:
        total = voices.waveforms.sum(axis=0)
        assert total == pytest.approx(without_rumble(signal, rate), abs=1e-5)


def test_files_and_signals_agree_in_windows(separator, short_windows, tmp_path):
    signal = noise(5 * RATE)
    path = write(tmp_path / "mixture.wav", signal)
    one = separator.separate_file(path)[0].cpu().numpy().T
    other = separator.separate_signal(signal, RATE).waveforms
    assert one == pytest.approx(other, abs=1e-6)


def test_long_recordings_come_in_pieces(separator, short_windows):
    recording = SignalRecording(noise(20 * RATE), RATE)
    stream = separator.stream(recording)
    sizes = [block.shape for block in stream.blocks]
    assert sum(size for _, size in sizes) == 20 * RATE
    assert all(count == 2 and size <= 2 * RATE for count, size in sizes)


@pytest.mark.parametrize(
    "counts, expected",
    [
        ([1, 2] * 12, 2),
        ([1] * 24, 1),
        ([2] * 22 + [3] * 2, 2),  # a few mistakes do not count
        ([2] * 21 + [3] * 3, 3),
        ([0] * 20 + [1, 1, 1, 3], 3),  # silent pieces do not vote
        ([0] * 24, 0),
    ],
)
def test_speakers_of_a_long_recording(
    counts, expected, three, short_windows, monkeypatch
):
    answers = iter(counts)
    monkeypatch.setattr(
        type(three.unmixer), "count", lambda *_: (next(answers), 0.75)
    )
    recording = SignalRecording(noise(9 * RATE), RATE)
    count, confidence = three.count_in(recording)
    assert count == expected
    assert confidence == (0.75 if expected else 1.0)


def test_auto_of_a_long_recording(three, short_windows, monkeypatch):
    monkeypatch.setattr(type(three.unmixer), "count", lambda *_: (2, 0.9))
    voices = three.separate_signal(noise(9 * RATE), RATE, "auto")
    assert voices.waveforms.shape == (2, 9 * RATE)
    assert voices.confidence == pytest.approx(0.9)
    assert voices.waveforms.any(axis=1).all()
    monkeypatch.setattr(type(three.unmixer), "count", lambda *_: (0, 1.0))
    voices = three.separate_signal(noise(9 * RATE), RATE, "auto")
    assert voices.waveforms.shape == (0, 9 * RATE)


def test_several_recordings_at_a_time(separator, short_windows):
    signals = [noise(n, seed=n) for n in (4000, 5 * RATE, 4001, 100)]
    recordings = [SignalRecording(signal, RATE) for signal in signals]
    signals[2][7] = np.nan
    streams = separator.streams(recordings)
    assert isinstance(streams[2], UserError)
    for index in (0, 1, 3):
        got = np.concatenate(list(streams[index].blocks), axis=1)
        expected = separator.separate_signal(signals[index], RATE).waveforms
        assert got == pytest.approx(expected, abs=1e-5)


# Bad input


@pytest.mark.parametrize(
    "mix",
    [
        torch.zeros(5),
        torch.zeros(1, 0),
        torch.zeros(0, 5),
        torch.zeros(1, 2, 3),
    ],
    ids=lambda x: str(tuple(x.shape)),
)
def test_batches_that_are_none(mix, separator):
    with pytest.raises(UserError, match="have the shape"):
        separator.separate_batch(mix)


def test_nan_in_a_batch(separator):
    with pytest.raises(UserError, match="NaN"):
        separator.separate_batch(torch.tensor([[0.0, float("nan")]]))


def test_a_file_that_is_fetched_is_not_kept(separator, tmp_path, monkeypatch):
    folders = []

    def fetch(name, source, savedir):
        folders.append(pathlib.Path(savedir))
        assert (name, source) == ("talk.wav", "https://x.org/y")
        return write(folders[0] / name, noise(500))

    monkeypatch.setattr(loading, "fetch", fetch)
    url = "https://x.org/y/talk.wav"
    voices = separator.separate_file(url)
    assert voices.shape == (1, 500, 2) and not folders.pop().exists()
    separator.separate_file(url, savedir=tmp_path)
    assert (tmp_path / "talk.wav").exists()


@pytest.mark.parametrize("name", ["none.wav", "./none.wav", "/none/none.wav"])
def test_a_file_that_is_not_there(name, separator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="none.wav"):
        separator.separate_file(name)


# A model folder that stands alone

ALONE = """
import socket, sys

def refuse(*_, **__):
    raise OSError("the network was asked for")

socket.socket.connect = refuse
from dpcl_dprnn.inference import SpeechSeparator
separator = SpeechSeparator.from_hparams(source=sys.argv[1])
import soundfile
voices = separator.separate_file(sys.argv[2])
soundfile.write(sys.argv[3], voices[0].cpu().numpy(), 8000, subtype="FLOAT")
"""


def test_a_model_folder_alone_works_offline(separator, model_folder, tmp_path):
    """In another process, with the package and the folder copied elsewhere."""
    package = pathlib.Path(dpcl_dprnn.__file__).parent
    shutil.copytree(package, tmp_path / "site" / "dpcl_dprnn")
    shutil.copytree(model_folder, tmp_path / "elsewhere")
    signal = noise(4000)
    write(tmp_path / "mixture.wav", signal)
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path / "site"),
        "HOME": str(tmp_path / "home"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [sys.executable, "-c", ALONE, "elsewhere", "mixture.wav", "out.wav"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    got, _ = soundfile.read(tmp_path / "out.wav")
    expected = separator.separate_signal(signal, RATE).waveforms.T
    assert got == pytest.approx(expected, abs=1e-5)


def test_a_gpu_separates_without_tf32(load, model_folder):
    """Which SpeechBrain allows when it is imported."""
    use_tf32(True)
    load(model_folder)
    kinds = torch.backends.cuda.matmul, torch.backends.cudnn
    assert [kind.allow_tf32 for kind in kinds] == [False, False]
