"""Result files say what was scored, once an utterance."""

import csv
import json
import math
import types

import numpy as np
import pytest
import torch

from dpcl_dprnn.evaluation import scoring as evaluation
from dpcl_dprnn.evaluation.metrics import score_utterance
from dpcl_dprnn.evaluation.scoring import Evaluation
from dpcl_dprnn.evaluation.speakers import ideal_voices
from dpcl_dprnn.sound.audio import read_audio
from dpcl_dprnn.unmixing.unmixer import Unmixed

RATE = 8000
COLUMNS = ["snt_id", "sdr", "sdr_i", "si-snr", "si-snr_i"]


class Oracle:
    """An unmixer whose `separated` has the voices of each head."""

    speaker_counting = ()
    num_spks = 2

    def __init__(self, heads=("masks",)):
        self.separator = types.SimpleNamespace(heads=heads)

    def unmix(self, mixture, separated, n_spks, head):
        return Unmixed(torch.from_numpy(getattr(separated, head)), None)


def evaluate(folder, utterances, heads=("masks",), **options):
    """Evaluate {name: (mixture, estimates, sources)}."""
    results = Evaluation(Oracle(heads), folder, RATE, **options)
    for name, signals in utterances.items():
        add(results, name, *signals)
    results.collect()
    return results


def add(results, name, mixture, estimates, sources):
    if not isinstance(estimates, dict):
        estimates = {"masks": estimates}
    separated = types.SimpleNamespace(**estimates, embeddings=None)
    results.add(name, *tensors(mixture, sources), separated)


def tensors(*arrays):
    return [torch.from_numpy(np.array(each)) for each in arrays]


def utterance(seed, length=1500, noise=0.1):
    """Mixture, estimates in another order than the sources, sources."""
    rng = np.random.default_rng(seed)
    sources = 0.1 * rng.standard_normal((2, length)).astype(np.float32)
    mixture = sources.sum(axis=0)
    estimates = sources[::-1] + noise * mixture * [[seed + 1], [1]]
    return mixture, estimates.astype(np.float32), sources


def silent_utterance():
    mixture, estimates, sources = utterance(9)
    return mixture, estimates[:1], 0 * sources


def summary_of(folder, **options):
    return json.loads((folder / "summary.json").read_text(), **options)


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_row_for_each_utterance_and_their_average(tmp_path):
    utterances = {name: utterance(seed) for seed, name in enumerate("bca")}
    evaluate(tmp_path, utterances).write()
    rows = read_csv(tmp_path / "test_results.csv")
    assert list(rows[0]) == COLUMNS
    assert [row["snt_id"] for row in rows] == ["a", "b", "c", "avg"]
    for name, signals in utterances.items():
        expected, _ = score_utterance(*signals)
        (row,) = (row for row in rows if row["snt_id"] == name)
        for column in COLUMNS[1:]:
            value = pytest.approx(expected[column], abs=1e-4)
            assert float(row[column]) == value
    for column in COLUMNS[1:]:
        mean = np.mean([float(row[column]) for row in rows[:-1]])
        assert float(rows[-1][column]) == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("jobs", [0, 2])
def test_processes_that_score_change_nothing(jobs, tmp_path):
    """Nor do they keep more utterances waiting than they should."""
    utterances = {f"utterance {seed}": utterance(seed) for seed in range(12)}
    utterances["silent"] = silent_utterance()
    alone = evaluate(tmp_path / "alone", utterances)
    results = Evaluation(Oracle(), tmp_path / "beside", RATE)
    with results.scoring(jobs):
        for name, signals in utterances.items():
            add(results, name, *signals)
            assert len(results.waiting) <= evaluation.WAITING * jobs
    results.collect()
    for each in (alone, results):
        each.write()
    for path in (tmp_path / "alone").iterdir():
        beside = tmp_path / "beside" / path.name
        assert path.read_bytes() == beside.read_bytes()


@pytest.mark.parametrize("heads", [["masks"], ["kmeans"], ["masks", "kmeans"]])
def test_files_of_the_heads_that_there_are(heads, tmp_path):
    mixture, estimates, sources = utterance(0)
    signals = mixture, dict.fromkeys(heads, estimates), sources
    evaluate(tmp_path, {"a": signals}, heads).write()
    assert {path.name for path in tmp_path.iterdir()} == {
        "summary.json",
        "test_set.csv",
        "test_speakers.csv",
        *(evaluation.RESULT_FILES[head] for head in heads),
    }


def test_summary_has_the_statistics_and_the_facts(tmp_path):
    utterances = {}
    for seed in range(3):
        mixture, estimates, sources = utterance(seed)
        both = {"masks": estimates, "kmeans": utterance(seed, noise=1)[1]}
        utterances[f"utterance {seed}"] = mixture, both, sources
    results = evaluate(tmp_path, utterances, ("masks", "kmeans"))
    returned = results.write(seed=1234, experiment="mini")
    summary = summary_of(tmp_path)
    assert summary == returned
    assert summary["seed"] == 1234
    assert summary["experiment"] == "mini"
    for head, noise in (("masks", 0.1), ("kmeans", 1)):
        rows = [
            score_utterance(*utterance(seed, noise=noise))[0]
            for seed in range(3)
        ]
        for name in COLUMNS[1:]:
            values = [row[name] for row in rows]
            assert summary["heads"][head][name] == {
                "mean": pytest.approx(np.mean(values)),
                "std": pytest.approx(np.std(values)),
                "count": 3,
            }


def test_undefined_scores_do_not_count(tmp_path):
    utterances = {
        "good": utterance(0),
        "silent": silent_utterance(),
        "short": utterance(1, length=300),  # has no SDR
    }
    evaluate(tmp_path, utterances).write()
    rows = read_csv(tmp_path / "test_results.csv")
    rows = {row["snt_id"]: row for row in rows}
    good, _ = score_utterance(*utterance(0))
    short, _ = score_utterance(*utterance(1, length=300))
    assert all(math.isnan(float(rows["silent"][c])) for c in COLUMNS[1:])
    assert math.isnan(float(rows["short"]["sdr"]))
    assert float(rows["avg"]["sdr"]) == pytest.approx(good["sdr"], abs=1e-4)
    mean = (good["si-snr"] + short["si-snr"]) / 2
    assert float(rows["avg"]["si-snr"]) == pytest.approx(mean, abs=1e-4)
    summary = summary_of(tmp_path)
    counts = {k: v["count"] for k, v in summary["heads"]["masks"].items()}
    assert counts == {"sdr": 1, "sdr_i": 1, "si-snr": 2, "si-snr_i": 2}


def test_nothing_defined(tmp_path):
    summary = evaluate(tmp_path, {"silent": silent_utterance()}).write()
    for value in summary["heads"]["masks"].values():
        assert value == {"mean": None, "std": None, "count": 0}
    assert read_csv(tmp_path / "test_results.csv")[-1]["snt_id"] == "avg"
    summary_of(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_fact_that_is_not_finite_does_not_lose_the_summary(value, tmp_path):
    """Such as the loss of a test set with a damaged model."""
    results = evaluate(tmp_path, {"a": utterance(0)})
    results.write(losses={"loss": value})
    strict = {"parse_constant": lambda name: pytest.fail(f"{name} is no JSON")}
    summary = summary_of(tmp_path, **strict)
    assert summary["losses"]["loss"] is None


def test_voices_are_written_in_the_order_of_the_sources(tmp_path):
    mixture, estimates, sources = utterance(1, noise=0.01)
    signals = mixture, {"masks": estimates, "kmeans": estimates}, sources
    utterances = {"a": signals, "b": signals}
    evaluate(tmp_path, utterances, ("masks", "kmeans"), audio_ids=["b"])
    folder = tmp_path / "separated"
    voices = {f"b_{h}_s{n}.wav" for h in ("masks", "kmeans") for n in (1, 2)}
    assert {p.name for p in folder.iterdir()} == {"b_mix.wav", *voices}
    written, _ = read_audio(folder / "b_mix.wav", RATE)
    assert np.abs(written - mixture).max() < 1e-4
    for number, source in enumerate(sources, start=1):
        voice, _ = read_audio(folder / f"b_masks_s{number}.wav", RATE)
        assert np.abs(voice - source).max() < 0.02


def test_perceptual_scores_come_last(tmp_path):
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    loud = {"a": utterance(0, length=8000)}
    evaluate(tmp_path, loud, perceptual=True).write()
    rows = read_csv(tmp_path / "test_results.csv")
    assert list(rows[0]) == [*COLUMNS, "pesq", "stoi"]


# Several processes


def shards(*names_of_ranks):
    """What each rank holds, as `gather` returns it."""
    held = []
    for names in names_of_ranks:
        results = Evaluation(Oracle(), "unused", RATE)
        for name in names:
            add(results, name, *utterance(ord(name)))
        held.append((results.scores, results.facts, results.speakers))
    return held


@pytest.mark.parametrize(
    "ranks",
    [
        ["abcd"],
        ["ac", "bd"],
        ["db", "ca"],
        ["abc", "cda"],  # as DistributedSampler repeats items
        ["abcd", ""],
        ["", "d", "cb", "a"],
    ],
    ids=str,
)
def test_results_do_not_depend_on_who_scored_what(ranks, tmp_path, monkeypatch):
    files = {}
    for kind, names in (("one", ["abcd"]), ("many", ranks)):
        held = shards(*names)
        monkeypatch.setattr(evaluation, "gather", lambda _, held=held: held)
        results = Evaluation(Oracle(), tmp_path / kind, RATE)
        results.collect()
        results.write()
        folder = tmp_path / kind
        files[kind] = {p.name: p.read_text() for p in folder.iterdir()}
    assert files["one"] == files["many"]
    assert len(read_csv(tmp_path / "many" / "test_results.csv")) == 4 + 1


def test_gather_gets_this_processs_scores(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(
        evaluation, "gather", lambda held: given.append(held) or [held]
    )
    evaluate(tmp_path, {"a": utterance(0)})
    scores, facts, speakers = given[0]
    assert list(scores["masks"]) == list(facts) == list(speakers) == ["a"]


def test_voices_that_clip_are_all_turned_down_alike(tmp_path):
    mixture, _, sources = utterance(0)
    loud = 20 * sources
    signals = {"a": (20 * mixture, loud, loud)}
    evaluate(tmp_path, signals, audio_ids=["a"])
    paths = sorted(tmp_path.glob("separated/a_masks_s?.wav"))
    voices = np.stack([read_audio(path, RATE)[0] for path in paths])
    assert np.abs(voices).max() == pytest.approx(0.99, abs=1e-4)
    gain = 0.99 / np.abs(loud).max()
    assert voices == pytest.approx(gain * loud, abs=1e-4)


# What is known of the test set


def test_facts_of_the_test_set(tmp_path):
    mixture, estimates, sources = utterance(0, length=8000)
    groups = {"x": "F", "y": "M"}
    name = "y1_0.5_x1_-0.5"
    signals = mixture, estimates, sources
    evaluate(tmp_path, {name: signals}, groups=groups).write()
    (row,) = read_csv(tmp_path / "test_set.csv")
    assert row["snt_id"] == name
    assert float(row["seconds"]) == 1.0
    assert int(row["num_spks"]) == 2
    power = np.square(sources).sum(axis=1)
    difference = 10 * abs(np.log10(power[0] / power[1]))
    assert float(row["level_difference"]) == pytest.approx(difference, abs=1e-3)
    same = np.stack([mixture, mixture])
    expected, _ = score_utterance(mixture, same, sources)
    for column in ("sdr", "si-snr"):
        assert float(row[column]) == pytest.approx(expected[column], abs=1e-3)
    ideal = ideal_voices(*tensors(mixture, sources), RATE).numpy()
    expected, _ = score_utterance(mixture, ideal, sources)
    for column in ("sdr_i", "si-snr_i"):
        value = float(row[f"ideal_{column}"])
        assert value == pytest.approx(expected[column], abs=1e-3)
    assert row["genders"] == "F-M"
    assert row["counted"] == row["confidence"] == ""
    speakers = read_csv(tmp_path / "test_speakers.csv")
    assert [row["group"] for row in speakers] == ["M", "F"]  # y1, then x1


def test_scores_of_each_speaker(tmp_path):
    mixture, estimates, sources = utterance(0)
    signals = mixture, {"masks": estimates, "kmeans": sources}, sources
    evaluate(tmp_path, {"a": signals}, ("masks", "kmeans")).write()
    rows = read_csv(tmp_path / "test_speakers.csv")
    assert [row["snt_id"] + row["speaker"] for row in rows] == ["a1", "a2"]
    csv_rows = read_csv(tmp_path / "test_results.csv")
    mean = np.mean([float(row["masks_si-snr_i"]) for row in rows])
    assert mean == pytest.approx(float(csv_rows[0]["si-snr_i"]), abs=1e-3)
    for row, source in zip(rows, sources, strict=True):
        s, m = (x.astype(float) - x.mean() for x in (source, mixture))
        target = (m @ s) / (s @ s) * s
        noise = np.square(m - target).sum()
        expected = 10 * np.log10((target @ target) / noise)
        assert float(row["si-snr"]) == pytest.approx(expected, abs=1e-3)
        assert float(row["kmeans_si-snr_i"]) > 40


def test_a_silent_source_is_no_speaker(tmp_path):
    mixture, _, sources = utterance(0, length=4000)
    sources[1] = 0
    results = evaluate(tmp_path, {"a": (sources[0], sources[:1], sources)})
    assert results.facts["a"]["num_spks"] == 1
    assert math.isnan(results.facts["a"]["level_difference"])
    # Nothing was separated, so that there is no score either.
    assert all(math.isnan(v) for v in results.scores["masks"]["a"].values())


def test_more_speakers_than_it_counts_are_not_counted(tmp_path):
    unmixer = Oracle()
    unmixer.speaker_counting, unmixer.num_spks = [[0.0]], 1
    results = Evaluation(unmixer, tmp_path, RATE)  # has nothing to count with
    add(results, "a", *utterance(0))
    results.collect()
    assert "counting" not in results.write()
    (row,) = read_csv(tmp_path / "test_set.csv")
    assert (row["num_spks"], row["counted"]) == ("2", "")


def test_counting_is_summed_up(tmp_path):
    unmixer = Oracle()
    unmixer.speaker_counting = [[0.0]] * 2
    answers = iter([(2, 0.9), (1, 0.6), (2, 0.8)])
    unmixer.count = lambda mixture, separated: next(answers)
    results = Evaluation(unmixer, tmp_path, RATE)
    for name in "abc":
        add(results, name, *utterance(0))
    results.collect()
    summary = results.write()
    assert summary["counting"] == {"right": pytest.approx(2 / 3), "count": 3}
    rows = read_csv(tmp_path / "test_set.csv")
    assert [row["counted"] for row in rows] == ["2", "1", "2"]
    assert [float(row["confidence"]) for row in rows] == [0.9, 0.6, 0.8]
