"""The embedded corpus: same seed same bytes, all of it or nothing."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from refusals import refused
from scipy.signal import correlate
from wsj0_tree import contents

import prepare_data
from dpcl_dprnn.speech import corpus as speech_corpus
from dpcl_dprnn.speech import espeak
from dpcl_dprnn.speech import synthetic as voices
from dpcl_dprnn.speech.corpus import build_corpus

TINY = {"speakers": 3, "heldout": 2, "hours": 0.02}


def median_f0(samples, rate):
    """Median over frames of the autocorrelation's first high peak."""
    values = []
    for start in range(0, len(samples) - 400, 400):
        frame = samples[start : start + 400]
        if np.std(frame) < 0.6 * np.std(samples):
            continue
        lags = correlate(frame, frame)[399:]
        lags = (lags / np.arange(400, 0, -1))[18:130]
        peaks = 1 + np.flatnonzero(
            (lags[1:-1] > lags[:-2])
            & (lags[1:-1] > lags[2:])
            & (lags[1:-1] > 0.85 * lags.max())
        )
        if len(peaks):
            values.append(rate / (18 + peaks[0]))
    return np.median(values)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    pytest.importorskip("espeakng_loader")
    out = tmp_path_factory.mktemp("speech") / "corpus"
    summary = build_corpus(out, jobs=1, **TINY)
    return out, summary


def test_same_seed_same_bytes_whatever_the_jobs(corpus, tmp_path):
    first, _ = corpus
    build_corpus(tmp_path / "again", jobs=3, **TINY)
    assert contents(tmp_path / "again") == contents(first)


def test_another_seed_gives_other_speech(corpus, tmp_path):
    first, _ = corpus
    build_corpus(tmp_path / "other", seed=7, **TINY)
    assert not set(contents(tmp_path / "other").values()) & set(
        contents(first).values()
    )


def test_files_are_what_they_are_said_to_be(corpus):
    out, summary = corpus
    seconds = {"train": 0.0, "valid": 0.0, "test": 0.0}
    paths = sorted(out.glob("*/*/*.wav"))
    for path in paths:
        info = soundfile.info(path)
        assert (info.samplerate, info.channels) == (8000, 1)
        assert info.subtype == "PCM_16"
        samples, _ = soundfile.read(path)
        assert np.abs(samples).max() < 0.85
        assert 0.01 < np.std(samples) < 0.1
        # Trimmed: sound within 50 ms of either end
        peak = np.abs(samples).max()
        assert np.abs(samples[:400]).max() > 0.005 * peak
        assert np.abs(samples[-400:]).max() > 0.005 * peak
        seconds[path.parts[-3]] += info.duration
    assert summary["files"] == len(paths)
    total = sum(seconds.values())
    assert summary["hours"] * 3600 == pytest.approx(total, abs=2)
    assert total == pytest.approx(TINY["hours"] * 3600, rel=0.3)


def test_tables_match_the_files(corpus):
    out, summary = corpus
    with open(out / "speakers.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    for row in rows:
        files = list((out / row["split"] / row["speaker"]).iterdir())
        assert len(files) == int(row["utterances"])
    stored = json.loads((out / "corpus.json").read_text(encoding="utf-8"))
    assert {**stored, "reused": False} == summary


def test_registers_are_heard(corpus):
    out, _ = corpus
    with open(out / "speakers.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            folder = out / row["split"] / row["speaker"]
            samples = [soundfile.read(path)[0] for path in folder.iterdir()]
            f0 = median_f0(np.concatenate(samples), 8000)
            assert (f0 > 155) == (row["register"] == "high"), (row, f0)


def test_a_finished_corpus_is_reused(corpus):
    out, summary = corpus
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert build_corpus(out, **TINY) == {**summary, "reused": True}
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def test_a_folder_in_use_is_refused(corpus, tmp_path):
    out, _ = corpus
    with refused("not empty"):
        build_corpus(out, **{**TINY, "speakers": 4})
    (tmp_path / "mine.txt").write_text("precious")
    with refused("not empty"):
        build_corpus(tmp_path, **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failure_leaves_nothing_behind(monkeypatch, tmp_path):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(voices, "ACCENTS", ["en-nowhere"])
    with refused("espeak_SetVoiceByName"):
        build_corpus(tmp_path / "corpus", **TINY)
    assert not any(tmp_path.iterdir())


def test_an_interrupt_leaves_nothing_behind(monkeypatch, tmp_path):
    pytest.importorskip("espeakng_loader")

    def interrupted(bar):  # one has spoken, others are speaking
        raise KeyboardInterrupt

    monkeypatch.setattr(espeak.tqdm, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_corpus(tmp_path / "corpus", **{**TINY, "hours": 0.2}, jobs=2)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_can_be_repeated(corpus, tmp_path, number):
    """It leaves no corpus, and the next run makes the same as ever."""
    out = tmp_path / "corpus"
    words = ["corpus", "--out", out, "--speakers", 40, "--hours", 0.5]
    process = subprocess.Popen(
        [sys.executable, prepare_data.__file__, *map(str, words)],
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".*/**/*.wav")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, number)
    assert process.wait() != 0
    assert not out.exists()
    if number == signal.SIGTERM:
        assert not any(tmp_path.iterdir())
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    build_corpus(out, **TINY)
    assert contents(out) == contents(corpus[0])


def test_a_missing_espeak_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(speech_corpus, "find_spec", lambda name: None)
    with refused("pip install espeakng-loader"):
        build_corpus(tmp_path / "corpus", **TINY)


@pytest.mark.parametrize(
    "bad",
    [
        {"speakers": 0},
        {"heldout": 1},
        {"hours": 0},
        {"hours": -1.0},
        {"hours": float("nan")},
        {"hours": float("inf")},
        {"rate": 0},
        {"seed": -1},
        {"jobs": 0},
    ],
)
def test_senseless_arguments_are_refused(bad, tmp_path):
    with refused(next(iter(bad))):
        build_corpus(tmp_path / "corpus", **{**TINY, **bad})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["file/corpus", "x" * 300])
def test_a_folder_that_cannot_be_is_a_user_error(name, tmp_path):
    pytest.importorskip("espeakng_loader")
    (tmp_path / "file").touch()
    with refused("^Cannot write .*another folder.$"):
        build_corpus(tmp_path / name, **TINY)


def test_a_folder_without_permission_is_a_user_error(monkeypatch, tmp_path):
    """Not by chmod, which does not stop root."""

    def denied(*args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(speech_corpus, "finished_corpus", denied)
    with refused("Permission denied"):
        build_corpus(tmp_path / "corpus", **TINY)
