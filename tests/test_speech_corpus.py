"""The embedded corpus: same seed same bytes, no voice in two splits."""

import csv
import hashlib
import json

import numpy as np
import pytest
import soundfile
from scipy.signal import correlate

from dpcl_dprnn import speech_corpus
from dpcl_dprnn.errors import UserError
from dpcl_dprnn.speech_corpus import build_corpus, draw_speakers

TINY = {"speakers": 3, "heldout": 2, "hours": 0.02, "progress": False}


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


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
    assert digests(tmp_path / "again") == digests(first)


def test_another_seed_gives_other_speech(corpus, tmp_path):
    first, _ = corpus
    build_corpus(tmp_path / "other", seed=7, **TINY)
    assert not set(digests(tmp_path / "other").values()) & set(
        digests(first).values()
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


def test_splits_share_no_variant_and_balance_registers():
    speakers = draw_speakers(200, 24, 2.5, 8000, 1)
    variants = {}
    for split in ("train", "valid", "test"):
        here = [s for s in speakers if s["split"] == split]
        assert len(here) == (200 if split == "train" else 24)
        highs = sum(s["register"] == "high" for s in here)
        assert highs == len(here) / 2
        variants[split] = {s["voice"].split("+")[1] for s in here}
        assert all(0.84 < s["tract"] < 1.16 for s in here)
    assert not variants["train"] & (variants["valid"] | variants["test"])
    assert not variants["valid"] & variants["test"]


def test_every_variant_exists():
    loader = pytest.importorskip("espeakng_loader")
    folder = f"{loader.get_data_path()}/voices/!v"
    for registers in speech_corpus.VARIANTS.values():
        for names in registers.values():
            for entry in names.split(","):
                name, f0 = entry.strip().rsplit(" ", 1)
                with open(f"{folder}/{name}", encoding="utf-8") as file:
                    assert "language variant" in file.read()
                assert 70 < int(f0) < 400


def test_a_finished_corpus_is_reused(corpus):
    out, summary = corpus
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert build_corpus(out, **TINY) == {**summary, "reused": True}
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}


def test_a_folder_in_use_is_refused(corpus, tmp_path):
    out, _ = corpus
    with pytest.raises(UserError, match="not empty"):
        build_corpus(out, **{**TINY, "speakers": 4})
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        build_corpus(tmp_path, **TINY)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_failure_leaves_nothing_behind(monkeypatch, tmp_path):
    pytest.importorskip("espeakng_loader")
    monkeypatch.setattr(speech_corpus, "ACCENTS", ["en-nowhere"])
    with pytest.raises(UserError, match="espeak_SetVoiceByName"):
        build_corpus(tmp_path / "corpus", **TINY)
    assert not any(tmp_path.iterdir())


def test_a_missing_espeak_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(speech_corpus, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install espeakng-loader"):
        build_corpus(tmp_path / "corpus", **TINY)


@pytest.mark.parametrize("bad", [{"speakers": 1}, {"hours": 0}, {"seed": -1}])
def test_senseless_arguments_are_refused(bad, tmp_path):
    with pytest.raises(UserError, match=next(iter(bad))):
        build_corpus(tmp_path / "corpus", **{**TINY, **bad})
