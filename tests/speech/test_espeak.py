"""Driving eSpeak NG: what goes in, what comes out, and what goes wrong."""

import numpy as np
import pytest
import soundfile
from refusals import refused

from dpcl_dprnn.speech import espeak
from dpcl_dprnn.speech.espeak import check, colour, run_job
from dpcl_dprnn.speech.synthetic import draw_speakers


@pytest.fixture
def speakers(tmp_path):
    pytest.importorskip("espeakng_loader")
    drawn = draw_speakers(2, 2, 0.005, 8000, 3)
    for speaker in drawn:
        speaker["folder"] = str(tmp_path / speaker["speaker"])
    return drawn


def noise(seconds, seed=0):
    rng = np.random.default_rng(seed)
    samples = rng.normal(0, 3000, int(seconds * espeak.ESPEAK_RATE))
    return samples.astype(np.int16)


def test_every_speaker_is_heard_and_reported(speakers, tmp_path):
    results = run_job(tmp_path / "job.json", speakers, 2)
    assert set(results) == {s["speaker"] for s in speakers}
    for speaker in speakers:
        files = list((tmp_path / speaker["speaker"]).iterdir())
        seconds = sum(soundfile.info(file).duration for file in files)
        result = results[speaker["speaker"]]
        assert result["utterances"] == len(files) >= 1
        assert result["seconds"] == pytest.approx(seconds, abs=1e-3)


def test_a_bad_voice_is_named(speakers, tmp_path):
    speakers[1]["voice"] = "en-nowhere+f1"
    with refused(r"SetVoiceByName\(en-nowhere\+f1\)"):
        run_job(tmp_path / "job.json", speakers, 1)


def test_a_crash_says_how_far_it_came(speakers, tmp_path, capfd):
    speakers[-1]["seed"] = None  # TypeError
    with refused("after 5 of 6 speakers"):
        run_job(tmp_path / "job.json", speakers, 1)
    assert "TypeError" in capfd.readouterr().err


def test_check_passes_what_is_good():
    check(0, "espeak_Synth")
    check(22050, "espeak_Initialize", good=22050)
    with refused("espeak_Synth gave -1"):
        check(-1, "espeak_Synth")


def test_colour_trims_and_sets_the_level():
    [speaker, *_] = draw_speakers(2, 2, 1, 8000, 3)
    speech = noise(1.0)
    pause = np.zeros(espeak.ESPEAK_RATE, np.int16)
    samples = colour(np.concatenate([pause, speech, pause]), speaker)
    # One second, at another rate and with another length of the tract
    expected = len(speech) * speaker["up"] / speaker["down"]
    assert len(samples) == pytest.approx(expected, abs=500)
    level = 20 * np.log10(np.sqrt(np.mean(samples**2)))
    assert level == pytest.approx(speaker["level_db"], abs=0.01)


def test_colour_does_not_clip():
    [speaker, *_] = draw_speakers(2, 2, 1, 8000, 3)
    samples = colour(noise(1.0), {**speaker, "level_db": 20})
    assert np.abs(samples).max() == pytest.approx(0.8, abs=0.01)
