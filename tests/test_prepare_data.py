"""The command line of prepare_data.py."""

import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest
import soundfile

import prepare_data
from dpcl_dprnn import mixing

SCRIPT = pathlib.Path(prepare_data.__file__)


@pytest.fixture
def speech(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(6):
        folder = tmp_path / "speech" / f"p{number}"
        folder.mkdir(parents=True)
        samples = 0.1 * rng.standard_normal(8000)
        soundfile.write(folder / f"u{number}.wav", samples, 8000)
    return tmp_path / "speech"


def command(*words):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)],
        capture_output=True,
        text=True,
    )


def test_mix_then_manifests(speech, tmp_path):
    """The whole path, with the processes that the command starts."""
    done = command(
        *("mix", "--speech", speech, "--out", tmp_path / "data"),
        *("--tr", 5, "--cv", 2, "--tt", 2, "--seed", 7),
    )
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "data" / "2speakers"
    assert f"--data_folder={folder}" in done.stderr
    files = prepare_data.prepare_manifests(folder, tmp_path / "save")
    lines = pathlib.Path(files["train"]).read_text().splitlines()
    assert len(lines) == 6


def test_every_option_arrives(monkeypatch):
    calls = []
    monkeypatch.setattr(
        mixing, "mix_corpus", lambda *a, **k: calls.append((a, k)) or "x"
    )
    line = (
        "mix --speech S --out O --n_spks 3 --rate 16000 --mode max "
        "--tr 1 --cv 2 --tt 3 --seed 4"
    )
    assert prepare_data.main(line.split()) == 0
    options = {"n_spks": 3, "rate": 16000, "mode": "max", "seed": 4}
    options["counts"] = {"tr": 1, "cv": 2, "tt": 3}
    assert calls == [(("S", "O"), options)]


def test_user_error_is_one_line(tmp_path):
    done = command("mix", "--speech", tmp_path / "no", "--out", tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("prepare_data.py: error: ")
    assert "no is not a folder" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_interrupt_is_quiet(monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(mixing, "mix_corpus", interrupted)
    assert prepare_data.main(["mix", "--speech", "S", "--out", "O"]) == 130
    assert capsys.readouterr().err == "prepare_data.py: interrupted\n"


def test_worker_imports_stay_light():
    """Every process that mixes imports these: torch would cost seconds."""
    code = (
        "import sys, prepare_data, dpcl_dprnn.mixing\n"
        "print(sorted({'torch', 'speechbrain', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SCRIPT.parent,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "[]\n", done.stderr


def test_corpus_options_arrive(monkeypatch):
    calls = []
    fake = types.SimpleNamespace(
        build_corpus=lambda *a, **k: calls.append((a, k))
    )
    monkeypatch.setitem(sys.modules, "dpcl_dprnn.speech_corpus", fake)
    line = "corpus --out O --speakers 9 --hours 0.5 --seed 3"
    assert prepare_data.main(line.split()) == 0
    assert calls == [(("O",), {"speakers": 9, "hours": 0.5, "seed": 3})]
