"""The model that comes along separates the example that comes along."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import separate
from dpcl_dprnn.inference import SpeechSeparator
from dpcl_dprnn.inference.loading import EXAMPLE, MODEL

SECOND = 2.0  # seconds, where the second reader of the example begins


@pytest.fixture(scope="module")
def pretrained(request):
    device = request.config.getoption("--device")
    return SpeechSeparator.from_hparams(run_opts={"device": device})


def test_sizes():
    sizes = {path.name: path.stat().st_size for path in MODEL.iterdir()}
    assert sizes.keys() == {"README.md", "hyperparams.yaml", "separator.ckpt"}
    assert sum(sizes.values()) < 8e6
    assert EXAMPLE.stat().st_size < 200e3


def test_the_example_has_two_voices(tmp_path, capsys, monkeypatch):
    """Without a network: one that begins, and one that joins in later."""

    def refuse(*_):
        raise AssertionError("no network is needed")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)
    assert separate.main(["example", "--json", "--device=cpu"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["count"] == 2 and facts["confidence"] > 0.7
    assert 11 < facts["expected_si_snr_i"] < 16
    assert "; expected SI-SNR improvement: " in facts["found"]
    names = ["example.html", "example_s1.wav", "example_s2.wav"]
    assert sorted(os.listdir("separated")) == names
    starts = {}
    for turn in facts["turns"]:
        starts.setdefault(turn["voice"], turn["start"])
    first, second = sorted(starts.values())
    assert first < 0.5 and second == pytest.approx(SECOND, abs=0.5)


def test_one_voice_stays_whole(pretrained):
    """The example's beginning, where one reads alone."""
    samples, rate = soundfile.read(EXAMPLE, dtype="float32")
    alone = samples[: round(SECOND * rate)]
    found = pretrained.separate_signal(alone, rate, n_spks="auto")
    assert found.count == 1
    (voice,) = found.waveforms
    error = np.square(voice - alone).sum() / np.square(alone).sum()
    assert error < 0.1


def test_silence_has_no_voice(pretrained):
    silence = np.zeros(8000, np.float32)
    assert pretrained.separate_signal(silence, 8000, n_spks="auto").count == 0


def test_the_example_from_the_shell(tmp_path):
    """Anywhere, with what is found said."""
    done = subprocess.run(
        [sys.executable, separate.__file__, "example", "--device=cpu"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "example: 2 voices (confidence in the number: " in done.stderr
    assert (tmp_path / "separated" / "example.html").is_file()
