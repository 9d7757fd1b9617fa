"""What a user may get wrong: one line that helps, and nothing is lost."""

import functools
import hashlib
import json
import os
import pathlib
import shutil
import signal

import numpy as np
import pytest
import soundfile
import tiny_run
import torch
import yaml
from in_process import ends, in_process, one_line
from planting import cut
from programs import program
from sounds import write_speakers
from tiny_run import (
    MINI,
    RECIPE,
    SMALL,
    change_mini,
    last_of_each,
    make_mixtures,
)

import train
from dpcl_dprnn.speech import store as speech_store
from dpcl_dprnn.training.checkpoints import write_sums

TINY = (
    *("--device=cpu", "--total_steps=2", "--warmup_steps=1"),
    *("--batch_size=2", "--training_crop=0.5", *SMALL),
)


def call(*words, hparams=MINI):
    """Run train.py in this process."""
    in_process(train.run, str(hparams), *last_of_each(words))


@pytest.fixture
def fails(capsys):
    """Run train.py, see it fail as it should, and give what it said."""
    return functools.partial(ends, capsys, 1, call, start="train.py: error: ")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Good data and the results of a run on them: `data`, `results`."""
    folder = tmp_path_factory.mktemp("good")
    make_mixtures(folder / "data", [0.5] * 2, others=2)
    call(*TINY, *where(folder))
    return folder


@pytest.fixture
def good(trained, tmp_path):
    """The same, for one test to break."""
    shutil.copytree(trained, tmp_path / "good")
    return tmp_path / "good"


def where(folder):
    return tiny_run.where(folder / "data", folder / "results")


def valuables(folder):
    """What must survive: checkpoints and scores, path to digest."""
    results = folder / "results"
    files = [path for path in results.rglob("save/CKPT*/*") if path.is_file()]
    files += [*results.glob("test_results*.csv"), results / "summary.json"]
    assert len(files) > 5
    return {
        str(path.relative_to(results)): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in files
    }


def test_exit_status_and_stderr_of_the_program(tmp_path):
    words = tiny_run.where(tmp_path / "nowhere", tmp_path / "results")
    done = program(
        *("train.py", "hparams/mini.yaml", "--device=cpu", *words),
        status=1,
        cwd=RECIPE,
    )
    assert "Traceback" not in done.stdout and done.stderr.count("\n") == 1
    assert "nowhere is not a folder" in one_line(done.stderr)
    assert "--data_folder" in done.stderr


DAMAGED = "wav8k/min/cv/s2/cv1.wav"


def at_another_rate(data):
    shutil.rmtree(data)
    make_mixtures(data, [0.5] * 2, rate=16000)


@pytest.mark.parametrize(
    "damage, words",
    [
        (shutil.rmtree, ["good/data", "not a folder", "--data_folder"]),
        (lambda data: cut(data / DAMAGED), [DAMAGED, "truncated", "again"]),
        (at_another_rate, ["tr0.wav", "--sample_rate=16000"]),
    ],
    ids=["missing", "truncated", "rate"],
)
def test_bad_data(damage, words, good, fails):
    before = valuables(good)
    damage(good / "data")
    message = fails(*TINY, *where(good))
    assert [word for word in words if word not in message] == []
    assert valuables(good) == before


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--num_spk=3"], ["--num_spk ", "Did you mean", "num_spks"]),
        (["--zzz=3"], ["--zzz ", "The keys are", "mini.yaml"]),
        (["--kmeans={restart: 3}"], ["restart", "restarts"]),
        (["--kmeans={restarts: 3"], ["override", "}"]),
        (["--batch_size=64"], ["batch_size", "2", "64"]),
        (["--num_spks=0"], ["num_spks is 0", "above 0"]),
        (["--num_spks=2.5"], ["num_spks is 2.5", "whole number"]),
        *(
            ([f"--seed={n}"], [f"seed is {n}", "whole number of 0 or more"])
            for n in ("-1", "1.5", "'abc'", "True")
        ),
        (
            ["--speech_cache=", "--speech_folder=x"],
            ["speech_cache is empty", "Name a folder"],
        ),
        (["--training_crop=-1"], ["training_crop is -1", "above 0"]),
        (["--lr=abc"], ["lr is 'abc'", "of 0 or more"]),
        (["--warmup_steps=-3"], ["warmup_steps is -3", "of 0 or more"]),
        (["--lr_fall=2"], ["lr_fall is 2", "from 0 to 1"]),
        (["--clip_quantile=2"], ["clip_quantile is 2", "0 to 1", "or null"]),
        (["--average_decay=1"], ["average_decay is 1", "or null"]),
        (["--max_minutes=0"], ["max_minutes is 0", "above 0", "or null"]),
        (["--max_minutes=x"], ["max_minutes is 'x'", "or null"]),
        (["--total_steps=null"], ["total_steps is None", "above 0"]),
        (["--model_dtype=fp16"], ["model_dtype is 'fp16'", "float16"]),
        (
            ["--initial_weights=foo"],
            ["initial_weights is 'foo'", "mixture or random"],
        ),
        (["--max_grad_norm=-1"], ["max_grad_norm (was 5.0, is -1"]),
        (["--optimizer_step_limit=x"], ["optimizer_step_limit", "whole"]),
        (["--hop=300"], ["mini.yaml", "hop", "n_fft"]),
        (
            ["--num_layers=2", "--lr=0.1"],
            ["lr (was 0.004, is 0.1), num_layers (was 1, is 2)"],
        ),
    ],
    ids=lambda value: value[0] if value[0][0] == "-" else "",
)
def test_bad_options(arguments, words, good, fails):
    before = valuables(good)
    options = ("--number_of_epochs=3", "--total_steps=9")
    message = fails(*TINY, *options, *where(good), *arguments)
    assert [word for word in words if word not in message] == []
    assert valuables(good) == before


@pytest.mark.parametrize(
    "argument, words",
    [
        ("--max_grad_norm=-1", ["max_grad_norm is -1", "above 0"]),
        ("--pretrained=nowhere", ["pretrained", "nowhere", "checkpoint"]),
        ("--grad_accumulation_factor=0", ["accumulation_factor is 0", "whole"]),
        ("--precision=fp16", ["fp16 is for GPUs", "bf16"]),
        ("--max_batch_seconds=0", ["max_batch_seconds is 0", "above 0"]),
    ],
)
def test_bad_options_of_a_new_run(argument, words, good, fails):
    new = f"--output_folder={good / 'new'}"
    message = fails(*TINY, where(good)[0], new, argument)
    assert [word for word in words if word not in message] == []


def test_forgotten_data_folder(good, fails):
    message = fails(*TINY, where(good)[1])
    assert "mini.yaml" in message and "--data_folder=" in message
    assert "--speech_folder=" in message


def test_empty_data_folder_option(good, fails):
    """As from --data_folder=$UNSET."""
    message = fails(*TINY, *where(good), "--data_folder=")
    assert "data_folder" in message


@pytest.mark.parametrize(
    "speakers, setting, words",
    [
        (None, "", ["speech is not a folder"]),
        ("", "", ["speech has too few speakers: 0 folders"]),
        ("abcde", "", ["speech", "5 folders", "6 in all", "Add"]),
        ("abcdef", "5", ["dynamic_mixing is 5", "settings"]),
        ("abcdef", "{speedss: 9}", ["mixing.speedss", "speeds or speakers?"]),
        ("abcdef", "{speeds: [0.9]}", ["speeds is [0.9]", "50 to 200"]),
        ("abcdef", "{train: 1}", ["1 training", "dynamic_mixing.train"]),
        ("abcdef", "{noise_folder: gone}", ["noise_folder: gone is not"]),
        ("abcdef", "{train: 9", ["override", "}"]),
    ],
)
def test_bad_speech(speakers, setting, words, good, fails):
    if speakers is not None:
        (good / "speech").mkdir()
        write_speakers(good / "speech", speakers)
    options = [f"--dynamic_mixing={setting}"] if setting else []
    options += [f"--speech_folder={good / 'speech'}"]
    message = fails(*TINY, *options, f"--output_folder={good / 'new'}")
    assert [word for word in words if word not in message] == []


def test_speech_folder_in_the_hparams_file(good, fails):
    """No data_folder is asked for, here either."""
    write_speakers(good / "speech", "abcde")
    line = f"speech_folder: {good / 'speech'}"
    path = change_mini(good, 'speech_folder: ""', line)
    message = fails(*TINY, where(good)[1], hparams=path)
    assert "speech has too few speakers: 5 folders" in message


def test_seed_that_is_to_be_given(good, fails):
    path = change_mini(good, "seed: 1234", "seed: !PLACEHOLDER")
    message = fails(*TINY, *where(good), hparams=path)
    assert f"{path} needs seed. Add --seed=" in message


def test_terminated_while_decoding(good, monkeypatch):
    """By a queue's time limit: half of a file is no use to anyone."""
    write_speakers(good / "speech", "abcdef")
    before, count = valuables(good), []
    decode = speech_store._decode

    def stop(task):
        count.append(task)
        if len(count) == 3:
            (there,) = (good / "cache").iterdir()
            os.kill(os.getpid(), signal.SIGTERM)
        return decode(task)

    def fail(*_):
        raise AssertionError("it would have been killed")

    monkeypatch.setattr(speech_store, "_decode", stop)
    old = signal.signal(signal.SIGTERM, fail)
    try:
        with pytest.raises(SystemExit) as caught:
            call(
                *(*TINY, f"--speech_folder={good / 'speech'}"),
                *(where(good)[1], f"--speech_cache={good / 'cache'}"),
            )
    finally:
        signal.signal(signal.SIGTERM, old)
    assert caught.value.code == 143 and len(count) == 3
    assert not list((good / "cache").iterdir())
    assert valuables(good) == before


@pytest.mark.parametrize("spoil", ["garbage", "silence", "stereo"])
def test_bad_recording(spoil, good, fails):
    write_speakers(good / "speech", "abcdef")
    path = good / "speech" / "c" / "c.wav"
    if spoil == "garbage":
        path.write_bytes(b"garbage" * 100)
    else:
        channels = 2 if spoil == "stereo" else 1
        soundfile.write(path, np.zeros((8000, channels)), 8000)
    message = fails(*TINY, f"--speech_folder={good / 'speech'}", where(good)[1])
    assert "speech/c/c.wav" in message


def test_neither_mixtures_nor_speech(good, fails):
    message = fails(*TINY, where(good)[1], "--speech_folder=")
    assert "--data_folder" in message and "--speech_folder" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(good, fails):
    message = fails(*TINY, *where(good), "--device=cuda")
    assert "--device" in message


def test_nothing_to_test(good, fails):
    results = good / "elsewhere"
    message = fails(
        *TINY, *where(good), f"--output_folder={results}", "--test_only"
    )
    assert str(results / "save") in message and "Train first" in message
    assert not list(results.glob("test_results*"))


def test_unwritable_output_folder(good, fails):
    (good / "file").write_text("precious")
    folder = good / "file" / "x"  # root can write anywhere but here
    message = fails(*TINY, *where(good), f"--output_folder={folder}")
    assert str(folder) in message and "output_folder" in message
    assert (good / "file").read_text() == "precious"


def test_the_last_of_two_equal_options_counts(good):
    """As it does for the run options, and in most programs."""
    before, summary = valuables(good), summary_but_its_data(good)
    before.pop("summary.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "last_of_each", list)
        call(*TINY, *where(good), "--seed=1", "--seed=1234", "--test_only")
    assert before.items() <= valuables(good).items()
    assert summary_but_its_data(good) == summary


def summary_but_its_data(folder):
    """The summary without the path of the data, which is another one here."""
    summary = json.loads((folder / "results" / "summary.json").read_text())
    assert summary.pop("data_folder")
    return summary


def test_no_hparams_file(good, fails):
    path = good / "nowhere.yaml"
    message = fails(*TINY, *where(good), hparams=path)
    assert str(path) in message and "No such file" in message


@pytest.mark.parametrize(
    "break_it",
    [
        lambda text: text + "\nnum_spks: [2\n",
        lambda text: text + "\n\tnum_spks: 2\n",
        lambda text: text + "\nnum_spks: 3\n",
        lambda text: text.replace("<hidden_size>", "<hidden_sise>"),
        lambda text: text.replace("STFTDecoder", "STFTDecodr"),
        lambda text: text.replace("n_fft: !ref", "fft: !ref"),
        lambda text: text.replace("output_folder:", "output_path:"),
        lambda text: "",
    ],
    ids=[
        *("bracket", "tab", "twice", "reference", "class", "argument"),
        *("key", "empty"),
    ],
)
def test_broken_hparams_file(break_it, good, fails):
    path = good / "broken.yaml"
    text = pathlib.Path(MINI).read_text(encoding="utf-8")
    path.write_text(break_it(text), encoding="utf-8")
    before = valuables(good)
    message = fails(*TINY, *where(good), hparams=path)
    assert str(path) in message
    assert valuables(good) == before


def go_on(good):
    """Train for one more epoch, that is sure to be the best."""
    for path in (good / "results" / "save").glob("CKPT*/CKPT.yaml"):
        meta = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "loss" in meta:  # not of checkpoints within an epoch
            meta["loss"] += 1000.0  # and the best stays the best
        path.write_text(yaml.safe_dump(meta), encoding="utf-8")
        write_sums(path.parent)
    return (*TINY, "--total_steps=9", "--number_of_epochs=3", *where(good))


def assert_usable(good, before):
    """The old checkpoint can be tested, with the old scores, and trained."""
    assert valuables(good) == before
    call(*TINY, *where(good), "--test_only")
    after = valuables(good)
    after["summary.json"] = before["summary.json"]  # data of another folder
    assert after == before
    call(*go_on(good))
    assert valuables(good).keys() != before.keys()  # a new checkpoint


def test_stopped_while_saving(good, monkeypatch):
    """By Ctrl-C, or by a queue's time limit, in the middle of a file."""
    arguments = go_on(good)
    before = valuables(good)
    save, count = torch.save, []

    def stop(state, path, *args, **options):
        count.append(path)
        if len(count) < 2:
            return save(state, path, *args, **options)
        pathlib.Path(path).write_bytes(b"PK")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", stop)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            call(*arguments)
    assert len(count) == 2
    assert_usable(good, before)


def test_disk_full_while_writing_the_scores(good, fails, monkeypatch):
    """The old scores stay, not the first half of the new ones."""
    before = valuables(good)
    write_text = pathlib.Path.write_text

    def full(path, text, **options):
        write_text(path, text[:20], **options)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_text", full)
    message = fails(*TINY, *where(good), "--test_only", "--skip_prep=True")
    monkeypatch.undo()
    assert "test_results" in message and "No space left" in message
    assert valuables(good) == before
