"""The whole recipe as a user runs it: data, training, scores, once more."""

import contextlib
import csv
import functools
import importlib.util
import json
import re
import shutil

import numpy as np
import pytest
import soundfile
import torch
from in_process import in_process
from programs import program
from tiny_run import (
    MINI,
    RATE,
    RECIPE,
    SCORES,
    SMALL,
    last_of_each,
    make_speech,
    where,
)
from torch.optim.optimizer import register_optimizer_step_pre_hook

import evaluate
import train
from dpcl_dprnn.inference import SpeechSeparator
from dpcl_dprnn.sound.audio import write_wav

TINY = (
    *("--total_steps=6", "--warmup_steps=2", "--batch_size=2"),
    *("--training_crop=1.0", *SMALL),
)


def command(*words):
    """Run a Python program in the recipe's folder."""
    # As in this process, and the same whatever starts the program
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return program(*words, cwd=RECIPE, env=threads)


def train_here(*words):
    """Run train.py in this process."""
    in_process(train.main, MINI, *last_of_each(words))


@pytest.fixture(scope="module")
def options(request):
    """Where to compute; processes that share a GPU need gloo."""
    device = request.config.getoption("--device")
    return f"--device={device}", "--distributed_backend=gloo"


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """eSpeak's speakers, or as many that hiss where it is not installed."""
    folder = tmp_path_factory.mktemp("recipe") / "speech"
    if importlib.util.find_spec("espeakng_loader"):
        options = ("--speakers", 4, "--hours", 0.01)
        command("prepare_data.py", "corpus", "--out", folder, *options)
        return folder
    return make_speech(folder)


@pytest.fixture(scope="module")
def data(speech):
    folder = speech.with_name("data")
    command(
        *("prepare_data.py", "mix", "--speech", speech, "--out", folder),
        *("--tr", 6, "--cv", 2, "--tt", 3),
    )
    return folder / "2speakers"


@pytest.fixture(scope="module")
def experiment(data, options):
    """The output folder of a run of train.py."""
    folder = data.with_name("experiment")
    command("train.py", MINI, *TINY, *options, *where(data, folder))
    return folder


def read_scores(folder):
    """The rows of both CSV files, as they are."""
    tables = {}
    for name in SCORES:
        with open(folder / name, newline="", encoding="utf-8") as file:
            tables[name] = list(csv.reader(file))
    return tables


def assert_same_scores(one, other):
    for name in SCORES:
        for row, wanted in zip(one[name], other[name], strict=True):
            assert row[0] == wanted[0]
            if row[0] != "snt_id":
                values = [float(cell) for cell in row[1:]]
                wanted = [float(cell) for cell in wanted[1:]]
                assert values == pytest.approx(wanted, abs=1e-3, nan_ok=True)


def epochs_of(folder):
    """The lines of train_log.txt, one a dict of numbers."""
    lines = (folder / "train_log.txt").read_text(encoding="utf-8").splitlines()
    return [
        {
            key: float(value)
            for key, value in re.findall(r"([\w ]+): (\S+?)(?:,|$| )", line)
        }
        for line in lines
    ]


def test_files_are_written(experiment):
    for name in (
        *SCORES,
        *("train_log.txt", "log.txt", "env.log", "train.py"),
        *("hyperparams.yaml", "summary.json", "report.html"),
        *("test_set.csv", "test_speakers.csv", "model/separator.ckpt"),
    ):
        assert (experiment / name).stat().st_size > 0, name
    checkpoints = list((experiment / "save").glob("CKPT*"))
    assert 2 <= len(checkpoints) <= 4  # the best and the last two
    for folder in checkpoints:
        assert (folder / "separator.ckpt").is_file()
    text = (experiment / "hyperparams.yaml").read_text(encoding="utf-8")
    assert "\nhidden_size: 8\n" in text
    log = (experiment / "log.txt").read_text(encoding="utf-8")
    assert "Beginning experiment!" in log


def test_log_has_a_line_for_each_epoch(experiment):
    first, second, test = epochs_of(experiment)  # six steps of two in six
    assert (first["epoch"], second["epoch"]) == (1, 2)
    for stage in ("train", "valid"):
        for part in ("loss", "pit", "dpcl"):
            assert np.isfinite(first[f" {stage} {part}"])
    assert test["epoch loaded"] in (1, 2)


def test_scores_are_complete(experiment, data):
    names = sorted(path.stem for path in data.glob("wav8k/min/tt/mix/*.wav"))
    columns = ["snt_id", "sdr", "sdr_i", "si-snr", "si-snr_i"]
    for table in read_scores(experiment).values():
        header, *rows, average = table
        assert header[:5] == columns
        assert [row[0] for row in rows] == names
        values = np.array([row[1:] for row in rows], dtype=float)
        assert np.isfinite(values[:, :4]).all()
        assert average[0] == "avg"
        means = [float(cell) for cell in average[1:]]
        assert means == pytest.approx(values.mean(axis=0), abs=2e-4)


def test_summary_agrees_with_the_scores(experiment):
    text = (experiment / "summary.json").read_text(encoding="utf-8")
    summary = json.loads(text)
    assert summary["num_spks"] == 2 and summary["parameters"] > 1000
    tables = read_scores(experiment)
    for head, name in zip(("masks", "kmeans"), SCORES, strict=True):
        header, *_, average = tables[name]
        for column, cell in zip(header[1:], average[1:], strict=True):
            mean = summary["heads"][head][column]["mean"]
            assert mean == pytest.approx(float(cell), abs=1e-4)


def test_separated_voices_are_written(experiment, data):
    paths = sorted((experiment / "separated").iterdir())
    for mixture in data.glob("wav8k/min/tt/mix/*.wav"):
        kinds = ("mix", *("masks_s1", "masks_s2", "kmeans_s1", "kmeans_s2"))
        for kind in kinds:
            path = experiment / "separated" / f"{mixture.stem}_{kind}.wav"
            paths.remove(path)
            info = soundfile.info(path)
            assert info.frames == soundfile.info(mixture).frames
            assert (info.samplerate, info.channels) == (RATE, 1)
    assert paths == []


def test_a_test_set_alone_gives_the_scores_of_the_run(
    experiment, data, options, tmp_path, capsys
):
    """By evaluate.py, which touches neither the run nor its model."""
    alone = tmp_path / "data" / "wav8k" / "min" / "tt"
    shutil.copytree(data / "wav8k" / "min" / "tt", alone)
    out = tmp_path / "out"
    before = {
        path: path.read_bytes()
        for path in experiment.rglob("*")
        if path.is_file()
    }
    words = ["--data_folder", str(tmp_path / "data"), "--output", str(out)]
    words += ["--model", str(experiment / "model"), options[0]]
    assert evaluate.main(words) == 0
    assert all(path.read_bytes() == content for path, content in before.items())
    assert "Test scores, mean (s.d.):" in capsys.readouterr().out
    assert_same_scores(read_scores(out), read_scores(experiment))
    assert (out / "report.html").is_file()
    assert len(list((out / "separated").iterdir())) == 3 * 5
    assert evaluate.main(words) == 1
    assert "out has scores already. Choose" in capsys.readouterr().err


def test_more_speakers_than_outputs_are_scored_by_kmeans(
    experiment, data, options, tmp_path
):
    there = data / "wav8k" / "min" / "tt"
    folder = tmp_path / "data" / "wav8k" / "min" / "tt"
    for source in ("s1", "s2"):
        shutil.copytree(there / source, folder / source)
    for name in ("s3", "mix"):
        (folder / name).mkdir()
    for path in (there / "mix").iterdir():
        mixture, rate = soundfile.read(path)
        third = np.roll(mixture[::-1], 100) / 2
        soundfile.write(folder / "s3" / path.name, third, rate)
        soundfile.write(folder / "mix" / path.name, mixture + third, rate)
    words = ["--data_folder", str(tmp_path / "data"), "--num_spks=3"]
    words += ["--model", str(experiment / "model"), options[0]]
    assert evaluate.main([*words, "--output", str(tmp_path / "out")]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["num_spks"] == 3 and list(summary["heads"]) == ["kmeans"]
    assert summary["heads"]["kmeans"]["si-snr_i"]["count"] == 3
    assert (tmp_path / "out" / "report.html").is_file()
    heard = list((tmp_path / "out" / "separated").iterdir())
    assert len(heard) == 4 * 3  # the mixture and three voices of each


@pytest.mark.parametrize("head", ["masks", "kmeans"])
def test_all_ways_to_the_voices_agree(
    head, experiment, data, options, tmp_path
):
    """Evaluation, Python and the command line, on the test mixtures."""
    separator = SpeechSeparator.from_hparams(
        source=str(experiment / "model"),
        run_opts={"device": options[0].removeprefix("--device=")},
    )
    command(
        *("separate.py", data / "wav8k" / "min" / "tt" / "mix", options[0]),
        *("--model", experiment / "model", "--output", tmp_path),
        *("--head", head),
    )
    examples = sorted((experiment / "examples").glob("*.npz"))
    assert len(examples) == 3
    for path in examples:
        with np.load(path) as kept:
            name, expected = str(kept["name"]), kept[head]
        place = data / "wav8k" / "min" / "tt" / "mix" / f"{name}.wav"
        mixture, _ = soundfile.read(place, dtype="float32")
        batch = torch.from_numpy(mixture)[None]
        by_batch = separator.separate_batch(batch, 2, head)[0].cpu().numpy().T
        paths = [tmp_path / f"{name}_s{n}.wav" for n in (1, 2)]
        read = [soundfile.read(path, dtype="float32") for path in paths]
        by_command = np.stack([voice for voice, _ in read])
        assert by_command == pytest.approx(by_batch, abs=1e-5)
        if np.abs(by_batch - expected).max() > 1e-5:  # in another order
            by_batch = by_batch[::-1]
        assert by_batch == pytest.approx(expected, abs=1e-5)


def test_test_only_repeats_the_scores(experiment, data, options):
    before = {name: (experiment / name).read_bytes() for name in SCORES}
    log = epochs_of(experiment)
    for name in SCORES:
        (experiment / name).unlink()
    train_here(*TINY, *options, *where(data, experiment), "--test_only")
    assert before == {name: (experiment / name).read_bytes() for name in SCORES}
    assert epochs_of(experiment)[:-1] == log  # a line more, of the test


def test_batch_size_does_not_change_the_scores(experiment, data, options):
    before = read_scores(experiment)
    train_here(
        *(*TINY, *options, *where(data, experiment), "--test_only"),
        "--test_dataloader_opts={batch_size: 3}",
    )
    assert_same_scores(read_scores(experiment), before)


def test_compiled_training_is_the_same(data, options, tmp_path, monkeypatch):
    """Traced and differentiated as for the compiler, which would take minutes
    to make machine code of it.
    """
    compiled = functools.partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", lambda module, **_: compiled(module))
    weights = []
    for name, option in (("eager", ()), ("compiled", ("--compile",))):
        folder = tmp_path / name
        train_here(
            *(*TINY, "--total_steps=2", *options, *option),
            *(*where(data, folder), "--precision=fp32"),
        )
        newest = max((folder / "save").glob("CKPT*"))
        weights.append(torch.load(newest / "separator.ckpt"))
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, atol=1e-5, rtol=1e-4)


def test_fine_tuning_starts_from_the_weights(experiment, data, options):
    """With a learning rate of 0 it stays there."""
    folder = data.with_name("tuned")
    train_here(
        *(*TINY, *options, *where(data, folder), "--seed=99", "--lr=0"),
        f"--pretrained={experiment / 'save'}",
    )
    assert_same_scores(read_scores(folder), read_scores(experiment))


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """Low voices and high ones, that anything can tell apart."""
    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    time = np.arange(RATE) / RATE
    for split, count in (("train", 8), ("valid", 2), ("test", 2)):
        for number in range(count):
            voices = []
            for low, high in ((150, 500), (1500, 3500)):
                notes = rng.uniform(low, high, (4, 1))
                phases = rng.uniform(0, 2 * np.pi, (4, 1))
                envelope = 1 + np.sin(2 * np.pi * rng.uniform(2, 6) * time)
                tone = np.sin(2 * np.pi * notes * time + phases).sum(axis=0)
                voices.append(0.05 * envelope * tone)
            kinds = ("mixture", "source1", "source2")
            signals = (sum(voices), *voices)
            for kind, samples in zip(kinds, signals, strict=True):
                path = folder / split / kind / f"{number}.wav"
                write_wav(path, samples, RATE)
    return folder


@contextlib.contextmanager
def learning_rates():
    """Collect the learning rate of every step."""
    rates = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    try:
        yield rates
    finally:
        hook.remove()


@pytest.fixture(scope="module")
def learned(tones, options, tmp_path_factory):
    """A run on the tones, that was stopped half-way and went on."""
    folder = tmp_path_factory.mktemp("learned") / "run"
    arguments = (
        *(*TINY, "--total_steps=60", "--warmup_steps=5", "--batch_size=4"),
        *("--training_crop=0.6", *options, *where(tones, folder)),
        *("--lr=0.01", "--lr_fall=0.9", "--dpcl_weight=1.0"),
        "--precision=fp32",
    )
    with learning_rates() as rates:
        train_here(*arguments, "--number_of_epochs=15")
        train_here(*arguments)
    return folder, rates


def test_training_learns(learned):
    folder, _ = learned
    epochs = [line for line in epochs_of(folder) if "epoch" in line]
    for stage in ("train", "valid"):
        first, last = epochs[0], epochs[-1]
        assert last[f" {stage} pit"] < first[f" {stage} pit"] - 3
        assert last[f" {stage} dpcl"] < 0.8 * first[f" {stage} dpcl"]
    text = (folder / "summary.json").read_text(encoding="utf-8")
    for scores in json.loads(text)["heads"].values():
        assert scores["si-snr_i"]["mean"] > 3, scores


def test_training_goes_on_where_it_stopped(learned):
    folder, rates = learned
    epochs = [line["epoch"] for line in epochs_of(folder) if "epoch" in line]
    assert epochs == list(range(1, 31))  # two steps each
    assert len(rates) == 60


def test_learning_rate_warms_up_and_cools_down(learned):
    folder, rates = learned
    assert rates[0] == pytest.approx(0.01 / 5)
    assert rates[:5] == sorted(rates[:5])
    assert max(rates) == pytest.approx(0.01)
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert -1e-9 < rates[-1] < 0.001
    assert all(line.get(" lr", 0) > -1e-9 for line in epochs_of(folder))
