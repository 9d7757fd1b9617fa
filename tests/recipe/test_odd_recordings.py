"""separate.py on what phones, call systems and crashed recorders leave."""

import json
import os
import struct

import numpy as np
import pytest
import soundfile
from sounds import RATE, convert, noise, write

from dpcl_dprnn.sound.rumble import without_rumble


def read(path):
    return soundfile.read(path, dtype="float32")[0]


def said_in_json(call, *words):
    """The facts that separate.py prints, for each recording."""
    done = call(*words, "--json")
    assert done.status == 0
    return [json.loads(line) for line in done.out]


# What nobody trained has no clusters to be found again after a larger change.
@pytest.mark.parametrize(
    "rumble, head",
    [
        *((0.05, "masks"), (0.3, "masks"), ("5 Hz", "masks")),
        *((0.05, "kmeans"), (0.3, "kmeans")),
    ],
)
def test_offset_and_rumble_change_nothing(rumble, head, separator):
    signal = noise(4 * RATE)
    if rumble == "5 Hz":
        rumble = 0.2 * np.sin(2 * np.pi * 5 * np.arange(len(signal)) / RATE)
    with_it = (signal + rumble).astype(np.float32)
    for rate in (RATE, 16000):  # resampled, too
        clean, odd = (
            separator.separate_signal(x, rate, head=head).waveforms
            for x in (signal, with_it)
        )
        # Which cluster is the first one, hangs on the last digits.
        errors = [
            np.abs(voices - clean)[:, RATE // 10 : -RATE // 10].max()
            for voices in (odd, odd[::-1])
        ]
        assert min(errors) < 0.02 * np.abs(clean).max()


def test_offset_and_rumble_in_windows(separator, monkeypatch):
    monkeypatch.setattr("dpcl_dprnn.inference.separator.WINDOW", 2.0)
    monkeypatch.setattr("dpcl_dprnn.inference.separator.OVERLAP", 0.5)
    signal = noise(7 * RATE)
    clean, odd = (
        separator.separate_signal(x, RATE).waveforms
        for x in (signal, signal + np.float32(0.1))
    )
    assert odd == pytest.approx(clean, abs=1e-4)


def test_a_batch_with_an_offset(separator):
    import torch

    signal = torch.from_numpy(noise(9000))[None]
    clean = separator.separate_batch(signal)
    odd = separator.separate_batch(signal + 0.1)
    torch.testing.assert_close(odd, clean, atol=1e-4, rtol=0)


@pytest.mark.parametrize("length", [0, 8000, 18044])
def test_a_wrong_header_is_told(call, tmp_path, length):
    path = write(tmp_path / "talk.wav", noise(9000), subtype="PCM_16")
    before = said_in_json(call, path, "--output", tmp_path / "before")
    assert before[0]["warnings"] == []
    content = bytearray(path.read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", length)
    path.write_bytes(content)
    done = call(path, "--output", tmp_path / "out")
    assert done.status == 0 and not done.errors
    assert "Warning: the file is damaged: it says" in done.said
    for name in ("talk_s1.wav", "talk_s2.wav"):
        one, other = (
            read(tmp_path / each / name) for each in ("before", "out")
        )
        assert one == pytest.approx(other, abs=1e-6)


@pytest.mark.parametrize(
    "suffix, options", [("m4a", ()), ("3gp", ("-ar", "8000")), ("webm", ())]
)
def test_a_recording_of_a_phone(call, tmp_path, suffix, options):
    path = write(tmp_path / "talk.wav", noise(3 * RATE))
    path = convert(path, tmp_path / f"memo.{suffix}", *options)
    out = tmp_path / "out"
    (facts,) = said_in_json(call, path, "--output", out, "--page")
    assert facts["warnings"] == [] and 2.9 < facts["seconds"] < 3.3
    for number in (1, 2):
        voice = soundfile.info(out / f"memo_s{number}.wav")
        assert voice.duration == pytest.approx(facts["seconds"], abs=1e-3)
    text = (out / "memo.html").read_text()
    assert (path.name in text) == (suffix != "3gp")  # which no browser plays


def test_codecs_of_call_systems(call, tmp_path):
    for number, subtype in enumerate(["GSM610", "G721_32", "NMS_ADPCM_32"]):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, noise(9000), RATE, subtype)
    done = call(tmp_path, "--output", tmp_path / "out")
    assert done.status == 0 and len(os.listdir(tmp_path / "out")) == 6


def test_files_that_are_passed_over_are_named(call, tmp_path):
    data = tmp_path / "in"
    write(data / "a.wav", noise(500))
    for name in ("notes.txt", "deep/plan.pdf"):
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_text("no sound")
    done = call(data, "--output", data, "--rttm")
    assert done.status == 0
    (line,) = (x for x in done.said.splitlines() if "passed over" in x)
    assert "no sound, by its suffix (2): " in line
    assert "notes.txt" in line and "plan.pdf" in line
    # What it wrote itself is not named.
    (_, facts) = said_in_json(call, data, "--output", data, "--overwrite")
    assert facts == {
        "input": str(data),
        "passed_over": [str(data / "deep/plan.pdf"), str(data / "notes.txt")],
    }


# Channels


@pytest.fixture
def call_system(tmp_path):
    """Two people who talk in turn, each on a channel of his own."""
    samples = noise(9000, 2)
    samples[:4500, 0] = samples[4500:, 1] = 0
    return write(tmp_path / "call.wav", samples)


def test_channels_that_differ_are_told(call, call_system, tmp_path):
    done = call(call_system, "--output", tmp_path / "out")
    assert done.status == 0 and "channels differ" in done.said
    assert "--channel each" in done.said


@pytest.mark.parametrize("mix", [[1, 1], [1, 0.3], [1, 0]])
def test_channels_that_are_alike_are_not(call, tmp_path, mix):
    path = write(tmp_path / "a.wav", noise(9000)[:, None] * np.array(mix))
    (facts,) = said_in_json(call, path, "--output", tmp_path / "out")
    assert facts["warnings"] == [] and facts["channel"] == "mean"


def test_each_channel(call, call_system, separator, tmp_path):
    out = tmp_path / "out"
    done = said_in_json(call, call_system, "--channel", "each", "--output", out)
    assert [facts["channel"] for facts in done] == [0, 1]
    assert [facts["warnings"] for facts in done] == [[], []]
    samples = read(call_system)
    for channel in (0, 1):
        alone = separator.separate_signal(samples[:, channel], RATE).waveforms
        for number in (1, 2):
            voice = read(out / f"call_channel{channel}_s{number}.wav")
            assert voice == pytest.approx(alone[number - 1], abs=1e-5)


def test_one_channel_after_the_other(call, call_system, tmp_path):
    """Into one folder, which may be the recording's."""
    for channel in (0, 1):
        words = (tmp_path, "--channel", channel, "--output", tmp_path)
        assert call(*words).status == 0
    assert sorted(os.listdir(tmp_path)) == [
        *("call.wav", "call_channel0_s1.wav", "call_channel0_s2.wav"),
        *("call_channel1_s1.wav", "call_channel1_s2.wav"),
    ]


def test_a_channel_that_is_not_there(call, call_system, tmp_path):
    done = call(call_system, "--channel", 2, "--output", tmp_path / "out")
    assert done.status == 1 and "there is no channel 2" in done.said


@pytest.mark.parametrize("other", [-1.0, -0.9])
def test_opposite_channels(call, tmp_path, other, separator):
    signal = noise(9000)
    samples = np.stack([signal, other * signal], axis=1)
    path = write(tmp_path / "a.wav", samples)
    (facts,) = said_in_json(call, path, "--output", tmp_path / "out")
    assert facts["channel"] == 0 and "cancel" in facts["warnings"][0]
    total = sum(read(tmp_path / f"out/a_s{n}.wav") for n in (1, 2))
    assert total == pytest.approx(without_rumble(signal, RATE), abs=1e-4)
    voices = separator.separate_signal(samples, RATE)
    assert np.abs(voices.waveforms).max() > 0.05


def test_opposite_channels_under_rumble(call, tmp_path):
    rumble = 2 * np.sin(2 * np.pi * 5 * np.arange(9000) / RATE)
    samples = np.stack([noise(9000) + rumble, rumble - noise(9000)], axis=1)
    path = write(tmp_path / "a.wav", samples)
    (facts,) = said_in_json(call, path, "--output", tmp_path / "out")
    assert facts["channel"] == 0 and "cancel" in facts["warnings"][0]


def test_warnings_where_voices_go_to_standard_output(call_system, tmp_path):
    import subprocess
    import sys

    import separate

    done = subprocess.run(
        [sys.executable, separate.__file__, call_system, "--output", "-"],
        capture_output=True,
    )
    assert done.returncode == 0 and b"channels differ" in done.stderr


def test_the_page_warns_too(call, call_system, tmp_path):
    out = tmp_path / "out"
    assert call(call_system, "--output", out, "--page").status == 0
    assert "Its channels differ" in (out / "call.html").read_text()


def test_voices_that_are_turned_down_are_told(call, tmp_path):
    path = write(tmp_path / "loud.wav", 30 * noise(9000))
    words = (path, "--output", tmp_path / "out")
    (facts,) = said_in_json(call, *words)
    assert facts["gain_db"] == 0  # floating point does not clip
    peak = max(np.abs(read(p)).max() for p in (tmp_path / "out").iterdir())
    (facts,) = said_in_json(call, *words, "--format", "flac")
    assert facts["gain_db"] == pytest.approx(-20 * np.log10(peak), abs=0.02)
    done = call(*words, "--format", "flac", "--overwrite")
    assert f"{-facts['gain_db']:.1f} dB quieter" in done.said


def test_a_long_recording_of_a_phone(call, tmp_path):
    """Its speakers are counted in pieces of it, up to its end."""
    path = write(tmp_path / "talk.wav", noise(40 * RATE))
    path = convert(path, tmp_path / "talk.m4a")
    (facts,) = said_in_json(call, path, "--output", tmp_path / "out")
    assert facts["seconds"] == pytest.approx(40, abs=0.3)
    voices = [soundfile.info(path).duration for path in facts["outputs"]]
    assert (
        voices == [pytest.approx(facts["seconds"], abs=1e-3)] * facts["count"]
    )
    assert voices
