"""Mixtures keep the rule of wsj0-mix, to the bit where it has one."""

import collections
import hashlib
import json

import numpy as np
import pytest
import soundfile

from dpcl_dprnn.errors import UserError
from dpcl_dprnn.levels import active_level
from dpcl_dprnn.mixing import mix_corpus, mix_sources
from dpcl_dprnn.mixture_lists import (
    draw_mixtures,
    format_mixture,
    mixture_name,
    read_list,
)
from dpcl_dprnn.speakers import find_speakers

COUNTS = {"tr": 6, "cv": 3, "tt": 3}


def burst(seed, seconds, rate=8000):
    """Noise with a pause at either end."""
    rng = np.random.default_rng(seed)
    samples = 0.05 * (1 + seed % 7) * rng.standard_normal(int(seconds * rate))
    pause = rate // 10
    samples[:pause] = samples[-pause:] = 0
    return np.clip(samples, -0.9, 0.9)


def make_speech(folder, speakers, rate=8000, suffix=".wav", utterances=2):
    """A folder of speakers, each with utterances of 0.6 s and more."""
    for number, speaker in enumerate(speakers):
        (folder / speaker).mkdir(parents=True)
        for index in range(utterances):
            samples = burst(number * 10 + index, 0.6 + 0.1 * index, rate)
            path = folder / speaker / f"u{number}_{index}{suffix}"
            soundfile.write(path, samples, rate)
    return folder


@pytest.fixture
def flat(tmp_path):
    return make_speech(tmp_path / "speech", [f"p{n:02}" for n in range(9)])


def digest(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def gain_between(first, second, rate=8000):
    levels = [active_level(x, rate) for x in (first, second)]
    return 10 * np.log10(levels[0] / levels[1])


@pytest.mark.parametrize("mode, length", [("min", 6000), ("max", 9000)])
def test_mix_sources_sum_and_length(mode, length):
    sources = [burst(1, 6000 / 8000), burst(2, 9000 / 8000), burst(3, 1)]
    mixture, scaled = mix_sources(sources, [2.0, -2.0, 0.0], mode)
    assert mixture.dtype == scaled.dtype == np.int16
    assert scaled.shape == (3, length)
    exact = scaled.astype(np.int64).sum(axis=0)
    np.testing.assert_array_equal(mixture, exact)
    peak = max(np.abs(exact).max(), np.abs(scaled.astype(int)).max())
    assert abs(peak - 0.9 * 32768) <= 3


def test_mix_sources_sets_the_gains():
    sources = [burst(1, 1.0), burst(2, 1.5), burst(3, 1.2)]
    _, scaled = mix_sources(sources, [1.7, -1.7, 0.0], "max")
    assert gain_between(scaled[0], scaled[1]) == pytest.approx(3.4, abs=0.05)
    assert gain_between(scaled[0], scaled[2]) == pytest.approx(1.7, abs=0.05)


def test_peak_may_be_a_source():
    """Sources that cancel: the source, not the mixture, sets the scale."""
    tone = np.sin(np.arange(8000))
    mixture, scaled = mix_sources([tone, -tone], [0.0, 0.0])
    assert not mixture.any()
    assert abs(scaled.max() - 0.9 * 32768) < 1


def test_active_level_ignores_pauses():
    noise = np.random.default_rng(0).standard_normal(8000)
    padded = np.concatenate([np.zeros(16000), noise, np.zeros(8000)])
    assert active_level(padded, 8000) == pytest.approx(
        np.mean(np.square(noise))
    )
    assert active_level(np.zeros(8000), 8000) == 0


def test_draw_balances_utterances_and_avoids_repeats():
    speech = {f"p{n}": [f"p{n}/{i}.wav" for i in range(5)] for n in range(8)}
    mixtures = draw_mixtures(speech, 400, 3, np.random.default_rng(0))
    uses = collections.Counter(path for m in mixtures for path, _ in m)
    assert len(uses) == 40 and max(uses.values()) - min(uses.values()) <= 2
    assert all(len({p.split("/")[0] for p, _ in m}) == 3 for m in mixtures)
    assert len({frozenset(p for p, _ in m) for m in mixtures}) == 400
    assert len({mixture_name(m) for m in mixtures}) == 400


def test_draw_gains():
    speech = {f"p{n}": [f"p{n}/{i}.wav" for i in range(5)] for n in range(8)}
    mixtures = draw_mixtures(speech, 300, 3, np.random.default_rng(0))
    first, second, third = (
        np.array([m[n][1] for m in mixtures]) for n in range(3)
    )
    assert first.min() >= 0 and 2.4 < first.max() <= 2.5
    np.testing.assert_array_equal(first, -second)
    assert not third.any()
    # Either of two speakers may be the louder one.
    assert 100 < sum(m[0][0] < m[1][0] for m in mixtures) < 200


def test_draw_repeats_where_it_must():
    """One pair only: it comes again, under another name."""
    speech = {"a": ["a/1.wav"], "b": ["b/1.wav"]}
    mixtures = draw_mixtures(speech, 50, 2, np.random.default_rng(0))
    assert len({mixture_name(m) for m in mixtures}) == 50


def test_read_list_takes_official_lines(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(
        "wsj0/si_tr_s/01c/01ca0102.wav 1.2972 wsj0/si_tr_s/209/209c0105.wav"
        " -1.2972 wsj0/si_tr_s/20m/20mo010h.wav 0 \n"
        "a b/c 1.wav 3.1e-05 d.wav -3.1e-05\n"
    )
    official, spaces = read_list(path)
    assert official[1] == ("wsj0/si_tr_s/209/209c0105.wav", -1.2972)
    name = "01ca0102_1.2972_209c0105_-1.2972_20mo010h_0"
    assert mixture_name(official) == name
    assert spaces == [("a b/c 1.wav", 3.1e-05), ("d.wav", -3.1e-05)]


@pytest.mark.parametrize("line", ["", "a.wav", "a.wav 1 b.wav", "a 1 b 2"])
def test_read_list_names_the_bad_line(tmp_path, line):
    path = tmp_path / "list.txt"
    path.write_text(f"a.wav 1 b.wav -1\n{line}\n")
    with pytest.raises(UserError, match="list.txt, line 2"):
        read_list(path)


@pytest.mark.parametrize("n_spks, mode", [(2, "min"), (3, "max")])
def test_corpus_files_agree_with_its_lists(flat, tmp_path, n_spks, mode):
    out = mix_corpus(
        flat, tmp_path, n_spks, 8000, mode, COUNTS, jobs=1, progress=False
    )
    assert out == tmp_path / f"{n_spks}speakers"
    for split, count in COUNTS.items():
        text = out / f"mix_{n_spks}_spk_{split}.txt"
        mixtures = read_list(text)
        lines = [format_mixture(m) + "\n" for m in mixtures]
        assert len(lines) == count and text.read_text() == "".join(lines)
        folder = out / "wav8k" / mode / split
        names = sorted(f"{mixture_name(m)}.wav" for m in mixtures)
        for kind in ["mix"] + [f"s{n + 1}" for n in range(n_spks)]:
            assert sorted(p.name for p in (folder / kind).iterdir()) == names
        for mixture in mixtures:
            check_mixture(flat, folder, mixture, mode)


def check_mixture(speech, folder, mixture, mode):
    name = f"{mixture_name(mixture)}.wav"
    mixed, rate = soundfile.read(folder / "mix" / name, dtype="int16")
    sources = [
        soundfile.read(folder / f"s{n}" / name, dtype="int16")[0]
        for n in range(1, len(mixture) + 1)
    ]
    assert rate == 8000
    np.testing.assert_array_equal(mixed, np.sum(sources, axis=0))
    originals = [soundfile.read(speech / path)[0] for path, _ in mixture]
    lengths = [len(original) for original in originals]
    assert len(mixed) == (min if mode == "min" else max)(lengths)
    # The scale that turns the original into the source is what was applied.
    scales = []
    for source, original in zip(sources, originals, strict=True):
        length = min(len(source), len(original))
        a, b = source[:length].astype(float), original[:length]
        scale = a @ b / (b @ b)
        scales.append(scale * np.sqrt(active_level(original, rate)))
    gains = 20 * np.log10(np.array(scales) / scales[0]) + mixture[0][1]
    np.testing.assert_allclose(gains, [g for _, g in mixture], atol=0.05)


def test_same_seed_same_bytes_whatever_the_jobs(flat, tmp_path):
    outs = []
    for name, seed, jobs in [("a", 1, 1), ("b", 1, 2), ("c", 2, 1)]:
        out = mix_corpus(
            flat,
            tmp_path / name,
            counts=COUNTS,
            seed=seed,
            jobs=jobs,
            progress=False,
        )
        outs.append(digest(out))
    assert outs[0] == outs[1]
    assert not set(outs[0].values()) & set(outs[2].values())


def test_flac_at_16k_is_resampled(tmp_path):
    """A 440 Hz tone stays one; its length halves."""
    for split in ("tr", "dev", "tt"):
        for number in range(2):
            folder = tmp_path / "speech" / split / f"{split}{number}" / "deep"
            folder.mkdir(parents=True)
            tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
            soundfile.write(folder / "tone.flac", tone, 16000)
    out = mix_corpus(
        tmp_path / "speech", tmp_path, counts=COUNTS, jobs=1, progress=False
    )
    path = next((out / "wav8k/min/tr/s1").iterdir())
    samples, rate = soundfile.read(path)
    assert (len(samples), rate) == (8000, 8000)
    assert np.abs(np.fft.rfft(samples)).argmax() == 440


def test_find_speakers_flat_divides_by_speaker(flat):
    found = find_speakers(flat, n_spks=2, seed=3)
    assert {s: len(f) for s, f in found.items()} == {"tr": 5, "cv": 2, "tt": 2}
    assert len({name for each in found.values() for name in each}) == 9
    assert found == find_speakers(flat, n_spks=2, seed=3)
    assert any(found != find_speakers(flat, 2, seed) for seed in range(4, 7))


def test_find_speakers_passes_over_junk(tmp_path):
    speech = tmp_path / "speech"
    for split in ("train", "valid", "test"):
        make_speech(speech / split, ["a", "b"])
    before = find_speakers(speech)
    (speech / "train" / ".DS_Store").write_bytes(b"junk")
    (speech / "train" / "a" / "._u0_0.wav").write_bytes(b"junk")
    (speech / "train" / "a" / "notes.txt").write_text("junk")
    (speech / "train" / ".hidden").mkdir()
    (speech / "train" / "empty").mkdir()
    soundfile.write(speech / "train/a/short.wav", burst(1, 0.45), 8000)
    assert find_speakers(speech) == before
    assert before["cv"] == {
        "a": ["valid/a/u0_0.wav", "valid/a/u0_1.wav"],
        "b": ["valid/b/u1_0.wav", "valid/b/u1_1.wav"],
    }


def test_same_request_is_reused_and_another_refused(flat, tmp_path, caplog):
    def request(**changes):
        options = {"counts": COUNTS, "jobs": 1, "progress": False, **changes}
        return mix_corpus(flat, tmp_path, **options)

    caplog.set_level("INFO")
    out = request()
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    assert request() == out
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    assert "2speakers is already there" in caplog.text
    with pytest.raises(UserError, match="2speakers is already there, with"):
        request(mode="max")
    soundfile.write(flat / "p00" / "u0_0.wav", burst(0, 0.9), 8000)
    with pytest.raises(UserError, match="2speakers is already there, with"):
        request()


def test_unfinished_folder_is_refused(flat, tmp_path):
    (tmp_path / "2speakers").mkdir()
    with pytest.raises(UserError, match="2speakers is already there"):
        mix_corpus(flat, tmp_path, counts=COUNTS, jobs=1, progress=False)


@pytest.mark.parametrize("jobs", [1, 2])
def test_silent_utterance_is_named_and_nothing_left(flat, tmp_path, jobs):
    for path in flat.rglob("*_0.wav"):
        soundfile.write(path, np.zeros(8000), 8000)
    with pytest.raises(UserError, match=r"p\d\d/u\d_0\.wav is silent"):
        mix_corpus(
            flat, tmp_path / "o", counts=COUNTS, jobs=jobs, progress=False
        )
    assert list((tmp_path / "o").iterdir()) == []


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_spks": 1}, "n_spks is 1"),
        ({"n_spks": 4}, "too few speakers: 1 for train"),
        ({"rate": 0}, "rate is 0"),
        ({"mode": "mean"}, "mode is 'mean'"),
        ({"seed": -1}, "seed is -1"),
        ({"counts": {"cv": 0}}, "cv is to have 0 mixtures"),
    ],
)
def test_bad_options(flat, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        mix_corpus(flat, tmp_path, progress=False, **options)


def test_bad_speech_folders(flat, tmp_path):
    with pytest.raises(UserError, match="nowhere is not a folder"):
        find_speakers(tmp_path / "nowhere")
    soundfile.write(flat / "p03/stereo.wav", np.zeros((8000, 2)), 8000)
    with pytest.raises(UserError, match=r"stereo\.wav has 2 channels"):
        find_speakers(flat)
    (flat / "train").mkdir()
    with pytest.raises(UserError, match="no valid"):
        find_speakers(flat)


def test_parameters_are_written(flat, tmp_path):
    out = mix_corpus(flat, tmp_path, counts=COUNTS, jobs=1, progress=False)
    parameters = json.loads((out / "mixtures.json").read_text())
    assert parameters["counts"] == COUNTS and parameters["seed"] == 1234
