"""separate.py as a user runs it."""

import dataclasses
import errno
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch
from model_folder import make_model_folder
from sounds import RATE, noise, write

import separate
from dpcl_dprnn.inference import SpeechSeparator
from dpcl_dprnn.sound.rumble import without_rumble

PROGRAM = pathlib.Path(separate.__file__)


def read(path):
    return soundfile.read(path, dtype="float32")[0]


@pytest.mark.parametrize("head", ["masks", "kmeans"])
def test_a_file_becomes_its_voices(head, call, separator, tmp_path):
    path = write(tmp_path / "talk.wav", noise(9000))
    out = tmp_path / "out"
    done = call(path, "--output", out, "--head", head)
    assert (done.status, done.out, done.errors) == (0, [], [])
    assert sorted(os.listdir(out)) == ["talk_s1.wav", "talk_s2.wav"]
    voices = np.stack([read(out / f"talk_s{n}.wav") for n in (1, 2)])
    mixture = torch.from_numpy(noise(9000))[None]
    (expected,) = separator.separate_batch(mixture, head=head).cpu().numpy()
    assert voices.T == pytest.approx(expected, abs=1e-5)


def test_a_folder_keeps_its_structure(call, tmp_path):
    data = tmp_path / "in"
    write(data / "a.wav", noise(500))
    write(data / "deep" / "er" / "b.flac", noise(500), subtype="PCM_16")
    (data / "notes.txt").write_text("not a sound")
    (data / ".hidden.wav").write_text("neither")
    out = tmp_path / "out"
    assert call(data, "--output", out, "--format", "flac").status == 0
    found = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.*"))
    assert found == [
        *("a_s1.flac", "a_s2.flac"),
        *("deep/er/b_s1.flac", "deep/er/b_s2.flac"),
    ]


def test_voices_in_the_same_folder_are_not_separated_again(call, tmp_path):
    write(tmp_path / "a.wav", noise(500))
    out = tmp_path / "voices"
    for extra in ((), ("--overwrite",)):
        assert call(tmp_path, "--output", out, *extra).status == 0
    assert sorted(os.listdir(out)) == ["a_s1.wav", "a_s2.wav"]


@pytest.mark.parametrize("below", ["", "in"])
def test_voices_beside_recordings_are_not_separated_again(
    below, call, tmp_path
):
    folder = tmp_path / below
    write(folder / "a.wav", noise(500))
    for extra in ((), ("--overwrite",)):
        assert call(folder, "--output", tmp_path, *extra).status == 0
    names = [path.name for path in tmp_path.rglob("*.wav")]
    assert sorted(names) == ["a.wav", "a_s1.wav", "a_s2.wav"]


def test_nothing_is_overwritten_silently(call, tmp_path):
    path = write(tmp_path / "a.wav", noise(500))
    out = tmp_path / "out"
    assert call(path, "--output", out).status == 0
    before = read(out / "a_s1.wav")
    write(path, noise(500, seed=1))
    done = call(path, "--output", out)
    assert done.status == 1
    assert len(done.errors) == 1 and "--overwrite" in done.errors[0]
    assert np.array_equal(read(out / "a_s1.wav"), before)
    assert call(path, "--output", out, "--overwrite", "--n_spks=1").status == 0
    assert os.listdir(out) == ["a_s1.wav"]  # the second voice was of before
    assert not np.array_equal(read(out / "a_s1.wav"), before)


def test_two_recordings_of_one_name(call, tmp_path):
    one = write(tmp_path / "x" / "a.wav", noise(500))
    two = write(tmp_path / "y" / "a.wav", noise(500, seed=1))
    out = tmp_path / "out"
    done = call(one, two, "--output", out)
    assert done.status == 1
    assert len(done.errors) == 1 and "has the name a too" in done.errors[0]
    total = read(out / "a_s1.wav") + read(out / "a_s2.wav")
    expected = without_rumble(noise(500), RATE)
    assert total == pytest.approx(expected, abs=1e-5)


def test_rate_and_channel(call, tmp_path):
    path = write(tmp_path / "a.wav", noise(16000, channels=3), 16000)
    out = tmp_path / "out"
    options = ("--sample_rate", 8000, "--channel", 1, "--n_spks", 1)
    assert call(path, "--output", out, *options).status == 0
    info = soundfile.info(out / "a_channel1_s1.wav")
    assert (info.samplerate, info.frames) == (8000, 8000)


def test_who_speaks_when_is_written(call, tmp_path):
    path = write(tmp_path / "my talk.wav", noise(12000))
    out = tmp_path / "out"
    done = call(path, "--output", out, "--rttm", "--json")
    assert done.status == 0
    facts = json.loads(done.out[0])
    lines = (out / "my talk.rttm").read_text().splitlines()
    assert facts["rttm"] == str(out / "my talk.rttm")
    assert len(lines) == len(facts["turns"]) > 0
    for line, turn in zip(lines, facts["turns"], strict=True):
        kind, name, _, start, duration, *_ = line.split()
        assert (kind, name) == ("SPEAKER", "my_talk")
        assert line.split()[7] == f"s{turn['voice']}"
        end = float(start) + float(duration)
        assert float(start) == turn["start"]
        assert end == pytest.approx(turn["end"], abs=1e-6)
        assert 0 <= turn["start"] < turn["end"] <= 12000 / RATE


def test_more_people_than_outputs(call, tmp_path):
    path = write(tmp_path / "talk.wav", noise(9000))
    done = call(path, "--output", tmp_path / "out", "--n_spks=3", "--json")
    facts = json.loads(done.out[0])
    assert (facts["count"], facts["head"]) == (3, "kmeans")
    assert len(os.listdir(tmp_path / "out")) == 3


def test_without_a_folder_there_is_a_page(call, tmp_path, monkeypatch):
    """And it is said what was found."""
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "talk.wav", noise(9000))
    done = call(path, "--n_spks", 2)
    names = ["talk.html", "talk_s1.wav", "talk_s2.wav"]
    assert sorted(os.listdir("separated")) == names
    assert f"{path}: 2 voices" in done.said
    assert all(f"separated/{name}" in done.said for name in names)
    page = pathlib.Path("separated", "talk.html").read_text()
    assert 'src="../talk.wav"' in page and 'src="talk_s2.wav"' in page
    assert call(path, "--no-page", "--overwrite").status == 0
    assert call(path).status == 1  # talk.html of before


def test_a_truth_beside_the_recording_is_not_overwritten(call, tmp_path):
    write(tmp_path / "a.wav", noise(9000))
    (tmp_path / "a.rttm").write_text("the truth")
    done = call(tmp_path / "a.wav", "--output", tmp_path, "--rttm")
    assert done.status == 1 and "a.rttm is there already" in done.errors[0]
    assert sorted(os.listdir(tmp_path)) == ["a.rttm", "a.wav"]
    assert (tmp_path / "a.rttm").read_text() == "the truth"


def test_who_speaks_when_needs_a_folder(call, tmp_path):
    path = write(tmp_path / "a.wav", noise(500))
    done = call(path, "--output", "-", "--rttm")
    assert done.status == 1 and "--rttm and --page write" in done.errors[0]


def test_json_lines(call, tmp_path):
    good = write(tmp_path / "good.wav", noise(16000), 16000)
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    out = tmp_path / "out"
    done = call(good, bad, "--output", out, "--json", "--n_spks=auto")
    assert done.status == 1
    first, second = sorted(map(json.loads, done.out), key=len, reverse=True)
    assert first["input"] == str(good)
    count = first["count"]
    names = [str(out / f"good_s{n + 1}.wav") for n in range(count)]
    assert first["outputs"] == names and count in (1, 2)
    assert 0 < first["confidence"] <= 1
    assert (first["head"], first["sample_rate"]) == ("masks", 16000)
    assert first["seconds"] == 1.0 and first["real_time_factor"] > 0
    assert second["input"] == str(bad) and "bad.wav" in second["error"]


def bad_inputs(folder):
    """Recordings that cannot be separated, and what is said of each."""
    (folder / "text.wav").write_text("not audio")
    (folder / "empty.wav").touch()
    samples = noise(500)
    samples[3] = np.nan
    write(folder / "nan.wav", samples)
    cut = write(folder / "cut.flac", noise(90000), subtype="PCM_16")
    cut.write_bytes(cut.read_bytes()[:50000])
    locked = folder / "link.wav"
    locked.symlink_to(folder / "nothing.wav")
    return {
        "text.wav": "as sound",
        "empty.wav": "is empty",
        "nan.wav": "NaN",
        "cut.flac": "cut.flac",
        "link.wav": "does not exist",
        "missing.wav": "does not exist",
    }


@pytest.mark.parametrize("batch", [1, 4])
def test_bad_files_are_named_and_the_others_done(batch, call, tmp_path):
    data = tmp_path / "in"
    good = [
        write(data / "eight_bit.wav", noise(500), subtype="PCM_U8"),
        write(data / "studio.wav", noise(9600), 96000),
        write(data / "six.wav", noise(500, channels=6)),
        write(data / "one_sample.wav", noise(1)),
        write(data / "double.wav", noise(500), subtype="DOUBLE"),
    ]
    messages = bad_inputs(data)
    names = [data / name for name in messages]
    mixed = [path for pair in zip(names, good, strict=False) for path in pair]
    mixed += names[len(good) :]
    out = tmp_path / "out"
    done = call(*mixed, "--output", out, "--batch", batch, "--n_spks=2")
    assert done.status == 1
    expected = [f"{path.stem}_s{n}.wav" for path in good for n in (1, 2)]
    assert sorted(os.listdir(out)) == sorted(expected)
    assert len(done.errors) == len(messages)
    for name, message in messages.items():
        (line,) = (line for line in done.errors if name in line)
        assert line.startswith("separate.py: error: ") and message in line


def test_a_batch_makes_no_difference(call, tmp_path):
    data = tmp_path / "in"
    for number, length in enumerate((500, 500, 700, 30, 499)):
        write(data / f"{number}.wav", noise(length, seed=number))
    for batch in (1, 3):
        done = call(data, "--output", tmp_path / str(batch), "--batch", batch)
        assert done.status == 0
    for path in (tmp_path / "1").iterdir():
        other = read(tmp_path / "3" / path.name)
        assert other == pytest.approx(read(path), abs=1e-5)


def test_a_folder_without_sounds(call, tmp_path):
    done = call(tmp_path, "--output", tmp_path / "out")
    assert done.status == 1 and "has no sound files" in done.errors[0]


@pytest.mark.parametrize(
    "words, message",
    [
        (("--n_spks=3", "--head=masks"), "separates 1 to 2"),
        (("--n_spks=0",), "separates 1 to 2"),
        (("--sample_rate=0",), "sampling rate is 0"),
        (("--sample_rate=384001",), "from 1 to 384000 Hz"),
        (("--channel=7",), "no channel 7"),
    ],
)
def test_options_that_make_no_sense(words, message, call, tmp_path):
    path = write(tmp_path / "a.wav", noise(100))
    done = call(path, "--output", tmp_path / "out", *words)
    assert done.status == 1
    assert len(done.errors) == 1 and message in done.errors[0]


@pytest.mark.parametrize(
    "words",
    [("a.wav", "--n_spks=x"), ("a.wav", "--head=ears"), ("-", "--batch=0"), ()],
)
def test_options_that_cannot_be_read(words, capsys):
    with pytest.raises(SystemExit) as caught:
        separate.main([*words, "--model=x", "--output=y"])
    assert caught.value.code == 2
    assert "separate.py: error: " in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["gone", "cut", "tag", "no folder"])
def test_a_model_that_cannot_be_used(damage, call, tmp_path):
    folder = make_model_folder(tmp_path / "model")
    weights, hparams = folder / "separator.ckpt", folder / "hyperparams.yaml"
    if damage == "gone":
        weights.unlink()
    elif damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "tag":
        hparams.write_text(hparams.read_text() + "\nx: !apply:os.getcwd []\n")
    else:
        folder = tmp_path / "nothing"
    path = write(tmp_path / "a.wav", noise(100))
    out = tmp_path / "out"
    done = call(path, "--output", out, model=folder)
    assert done.status == 1 and len(done.errors) == 1 and not out.exists()
    named = {"tag": "!apply:os.getcwd", "no folder": "nothing"}
    assert named.get(damage, "separator.ckpt") in done.errors[0]
    if damage == "tag":
        again = call(path, "--output", out, "--trust_model", model=folder)
        assert again.status == 0


def test_an_output_folder_that_cannot_be_written(call, tmp_path):
    path = write(tmp_path / "a.wav", noise(100))
    in_the_way = tmp_path / "out"
    in_the_way.write_text("a file")
    done = call(path, "--output", in_the_way)
    assert done.status == 1
    assert len(done.errors) == 1 and "Cannot write" in done.errors[0]


def test_an_old_voice_that_cannot_be_removed(call, tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", noise(100))
    out = tmp_path / "out"
    assert call(path, "--output", out).status == 0

    def locked(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "unlink", locked)
    done = call(path, "--output", out, "--n_spks=1", "--overwrite")
    assert done.status == 1 and len(done.errors) == 1
    assert "a_s2.wav" in done.errors[0] and "Perm" in done.errors[0]


@pytest.mark.parametrize(
    "error", [RuntimeError("out of memory"), MemoryError()]
)
@pytest.mark.parametrize("batch", [1, 4])
def test_memory_that_one_recording_lacks(
    batch, error, call, tmp_path, monkeypatch
):
    streams = SpeechSeparator.streams
    sizes = []

    def short_of_memory(self, recordings, *args):
        sizes.append(len(recordings))
        if any(recording.frames == 700 for recording in recordings):
            raise error
        return streams(self, recordings, *args)

    monkeypatch.setattr(SpeechSeparator, "streams", short_of_memory)
    data = tmp_path / "in"
    for name, length in {"a": 500, "b": 700, "c": 600}.items():
        write(data / f"{name}.wav", noise(length))
    out = tmp_path / "out"
    done = call(data, "--output", out, "--batch", batch)
    assert done.status == 1 and len(done.errors) == 1
    assert f"{data / 'b.wav'}: not enough memory: " in done.errors[0]
    names = ["a_s1.wav", "a_s2.wav", "c_s1.wav", "c_s2.wav"]
    assert sorted(os.listdir(out)) == names
    assert sizes == ([1, 1, 1] if batch == 1 else [3, 1, 1, 1])


def test_memory_that_ends_in_the_middle(call, tmp_path, monkeypatch):
    streams = SpeechSeparator.streams

    def blocks():
        yield np.zeros((2, 100), np.float32)
        raise RuntimeError("out of memory")

    def broken(self, recordings, *args):
        (stream,) = streams(self, recordings, *args)
        if recordings[0].frames == 700:
            stream = dataclasses.replace(stream, blocks=blocks())
        return [stream]

    monkeypatch.setattr(SpeechSeparator, "streams", broken)
    paths = [
        write(tmp_path / f"{length}.wav", noise(length))
        for length in (700, 500)
    ]
    out = tmp_path / "out"
    done = call(*paths, "--output", out, "--batch=1")
    assert done.status == 1 and len(done.errors) == 1
    assert sorted(os.listdir(out)) == ["500_s1.wav", "500_s2.wav"]


def test_a_recording_in_which_nobody_speaks(call, tmp_path):
    path = write(tmp_path / "silent.wav", np.zeros(9000, np.float32))
    options = ("--output", tmp_path / "out", "--n_spks=auto")
    line = f"{path}: nobody speaks: no voice was written."
    done = call(path, *options)
    assert (done.status, done.out, done.errors) == (0, [], [])
    assert done.said.count(line) == 1
    done = call(path, *options, "--json")
    assert done.status == 0 and line not in done.said
    assert json.loads(done.out[0])["count"] == 0


# As a program: standard input and output, signals


def program(model, *words, **options):
    return subprocess.Popen(
        [
            *(sys.executable, str(PROGRAM), *map(str, words)),
            *("--model", str(model), "--device=cpu"),
        ],
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **{"stdout": subprocess.PIPE, **options},
    )


def test_standard_input_and_output(model_folder, separator):
    file = io.BytesIO()
    soundfile.write(file, noise(5000), RATE, format="WAV", subtype="FLOAT")
    process = program(
        model_folder, "-", "--output", "-", "--json", stdin=subprocess.PIPE
    )
    out, err = process.communicate(file.getvalue())
    assert process.returncode == 0, err
    got, rate = soundfile.read(io.BytesIO(out), dtype="float32")
    expected = separator.separate_signal(noise(5000), RATE).waveforms
    assert rate == RATE and got.T == pytest.approx(expected, abs=1e-5)
    lines = err.decode().replace("\r", "\n").split("\n")
    (line,) = (line for line in lines if line.strip().startswith("{"))
    assert json.loads(line)["input"] == "standard input"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux only")
@pytest.mark.parametrize("words", [("-",), ("out", "--json")])
def test_standard_output_that_is_full(words, model_folder, tmp_path):
    path = write(tmp_path / "a.wav", noise(500))
    with open("/dev/full", "wb") as full:
        process = program(
            *(model_folder, path, "--output", *words),
            cwd=tmp_path,
            stdout=full,
        )
        _, err = process.communicate()
    lines = err.decode().replace("\r", "\n").split("\n")
    errors = [line for line in lines if "error" in line.lower()]
    assert process.returncode == 1, err
    assert len(errors) == 1 and "No space left" in errors[0], err


def test_a_program_that_is_ended_leaves_nothing(model_folder, tmp_path):
    path = write(tmp_path / "long.wav", noise(1200 * RATE), subtype="PCM_16")
    out = tmp_path / "out"
    process = program(model_folder, path, "--output", out)
    while process.poll() is None and not (out.is_dir() and os.listdir(out)):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 143, err
    assert os.listdir(out) == []
