"""Result files say what was scored, once an utterance."""

import csv
import json
import math

import numpy as np
import pytest

from dpcl_dprnn import evaluation
from dpcl_dprnn.audio import read_audio
from dpcl_dprnn.evaluation import Evaluation, rescale
from dpcl_dprnn.metrics import score_utterance

RATE = 8000
COLUMNS = ["snt_id", "sdr", "sdr_i", "si-snr", "si-snr_i"]


def utterance(seed, length=1500, noise=0.1):
    """Mixture, estimates in another order than the sources, sources."""
    rng = np.random.default_rng(seed)
    sources = 0.1 * rng.standard_normal((2, length)).astype(np.float32)
    mixture = sources.sum(axis=0)
    estimates = sources[::-1] + noise * mixture * [[seed + 1], [1]]
    return mixture, estimates.astype(np.float32), sources


def silent_utterance():
    mixture, estimates, sources = utterance(9)
    return mixture, estimates, 0 * sources


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_a_row_for_each_utterance_and_their_average(tmp_path):
    results = Evaluation(tmp_path, RATE)
    for seed, name in enumerate(("b", "c", "a")):
        results.add("masks", name, *utterance(seed))
    results.collect()
    results.write()
    rows = read_csv(tmp_path / "test_results.csv")
    assert list(rows[0]) == COLUMNS
    assert [row["snt_id"] for row in rows] == ["a", "b", "c", "avg"]
    for seed, name in enumerate(("b", "c", "a")):
        expected, _ = score_utterance(*utterance(seed))
        (row,) = (row for row in rows if row["snt_id"] == name)
        for column in COLUMNS[1:]:
            value = pytest.approx(expected[column], abs=1e-4)
            assert float(row[column]) == value
    for column in COLUMNS[1:]:
        mean = np.mean([float(row[column]) for row in rows[:-1]])
        assert float(rows[-1][column]) == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("heads", [["masks"], ["kmeans"], ["masks", "kmeans"]])
def test_files_of_the_heads_that_there_are(heads, tmp_path):
    results = Evaluation(tmp_path, RATE)
    for head in heads:
        results.add(head, "a", *utterance(0))
    results.collect()
    results.write()
    files = {"masks": "test_results.csv", "kmeans": "test_results_kmeans.csv"}
    assert {path.name for path in tmp_path.iterdir()} == {
        "summary.json",
        *(files[head] for head in heads),
    }


def test_summary_has_the_statistics_and_the_facts(tmp_path):
    results = Evaluation(tmp_path, RATE)
    for seed in range(3):
        results.add("masks", f"utterance {seed}", *utterance(seed))
        results.add("kmeans", f"utterance {seed}", *utterance(seed, noise=1))
    results.collect()
    returned = results.write(seed=1234, experiment="mini")
    summary = json.loads((tmp_path / "summary.json").read_text())
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
    results = Evaluation(tmp_path, RATE)
    results.add("masks", "good", *utterance(0))
    results.add("masks", "silent", *silent_utterance())
    results.add("masks", "short", *utterance(1, length=300))  # has no SDR
    results.collect()
    results.write()
    rows = {
        row["snt_id"]: row for row in read_csv(tmp_path / "test_results.csv")
    }
    good, _ = score_utterance(*utterance(0))
    short, _ = score_utterance(*utterance(1, length=300))
    assert all(math.isnan(float(rows["silent"][c])) for c in COLUMNS[1:])
    assert math.isnan(float(rows["short"]["sdr"]))
    assert float(rows["avg"]["sdr"]) == pytest.approx(good["sdr"], abs=1e-4)
    mean = (good["si-snr"] + short["si-snr"]) / 2
    assert float(rows["avg"]["si-snr"]) == pytest.approx(mean, abs=1e-4)
    summary = json.loads((tmp_path / "summary.json").read_text())
    counts = {k: v["count"] for k, v in summary["heads"]["masks"].items()}
    assert counts == {"sdr": 1, "sdr_i": 1, "si-snr": 2, "si-snr_i": 2}


def test_nothing_defined(tmp_path):
    results = Evaluation(tmp_path, RATE)
    results.add("masks", "silent", *silent_utterance())
    results.collect()
    summary = results.write()
    for value in summary["heads"]["masks"].values():
        assert value == {"mean": None, "std": None, "count": 0}
    assert read_csv(tmp_path / "test_results.csv")[-1]["snt_id"] == "avg"
    json.loads((tmp_path / "summary.json").read_text())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_fact_that_is_not_finite_does_not_lose_the_summary(value, tmp_path):
    """Such as the loss of a test set with a damaged model."""
    results = Evaluation(tmp_path, RATE)
    results.add("masks", "a", *utterance(0))
    results.collect()
    results.write(losses={"loss": value})
    summary = json.loads(
        (tmp_path / "summary.json").read_text(),
        parse_constant=lambda name: pytest.fail(f"{name} is not JSON"),
    )
    assert summary["losses"]["loss"] is None


def test_voices_are_written_in_the_order_of_the_sources(tmp_path):
    results = Evaluation(tmp_path, RATE, audio_ids=["b"])
    for head in ("masks", "kmeans"):
        results.add(head, "a", *utterance(0))
        results.add(head, "b", *utterance(1, noise=0.01))
    folder = tmp_path / "separated"
    assert sorted(path.name for path in folder.iterdir()) == [
        "b_kmeans_s1.wav",
        "b_kmeans_s2.wav",
        "b_masks_s1.wav",
        "b_masks_s2.wav",
        "b_mix.wav",
    ]
    mixture, _, sources = utterance(1)
    written, _ = read_audio(folder / "b_mix.wav", RATE)
    assert np.abs(written - mixture).max() < 1e-4
    for number, source in enumerate(sources, start=1):
        voice, _ = read_audio(folder / f"b_masks_s{number}.wav", RATE)
        assert np.abs(voice - source).max() < 0.02


def test_perceptual_scores_come_last(tmp_path):
    pytest.importorskip("pesq")
    pytest.importorskip("pystoi")
    results = Evaluation(tmp_path, RATE, perceptual=True)
    results.add("masks", "a", *utterance(0, length=8000))
    results.collect()
    results.write()
    rows = read_csv(tmp_path / "test_results.csv")
    assert list(rows[0]) == [*COLUMNS, "pesq", "stoi"]


# Several processes


def shards(*names_of_ranks):
    """What each rank holds, as `gather` returns it."""
    scores = []
    for names in names_of_ranks:
        results = Evaluation("unused", RATE)
        for name in names:
            results.add("masks", name, *utterance(ord(name)))
        scores.append(results.scores)
    return scores


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
        results = Evaluation(tmp_path / kind, RATE)
        results.collect()
        results.write()
        folder = tmp_path / kind
        files[kind] = {p.name: p.read_text() for p in folder.iterdir()}
    assert files["one"] == files["many"]
    assert len(read_csv(tmp_path / "many" / "test_results.csv")) == 4 + 1


def test_gather_gets_this_processs_scores(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(
        evaluation, "gather", lambda scores: given.append(scores) or [scores]
    )
    results = Evaluation(tmp_path, RATE)
    results.add("masks", "a", *utterance(0))
    results.collect()
    assert list(given[0]["masks"]) == ["a"]


# Scale of the voices


def test_rescale_restores_voices_of_arbitrary_scale():
    mixture, _, sources = utterance(0)
    voices = rescale(mixture, sources * [[50], [-0.01]])
    assert voices == pytest.approx(sources, abs=1e-5)


def test_rescale_turns_all_down_alike_where_one_clips():
    sources = np.array([[2.0, 0, -1], [0, 0.5, 0.1]])
    voices = rescale(sources.sum(axis=0), sources)
    assert np.abs(voices).max() == pytest.approx(0.99)
    assert voices == pytest.approx(sources * 0.99 / 2)


@pytest.mark.parametrize("silent", [1, 2])
def test_rescale_of_silence(silent):
    mixture, _, sources = utterance(0)
    sources[:silent] = 0
    voices = rescale(mixture, sources)
    assert np.isfinite(voices).all()
    assert not voices[:silent].any()


def test_rescale_leaves_its_arguments():
    mixture, estimates, _ = utterance(0)
    before = mixture.copy(), estimates.copy()
    rescale(mixture, estimates)
    assert np.array_equal(mixture, before[0])
    assert np.array_equal(estimates, before[1])
