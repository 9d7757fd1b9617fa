"""The command line of prepare_data.py."""

import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest
import soundfile

import prepare_data
from dpcl_dprnn.datasets.manifests import prepare_manifests
from dpcl_dprnn.doctor import check as doctor
from dpcl_dprnn.mixtures import sets as mixture_sets

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


@pytest.fixture
def calls(monkeypatch):
    """What the makers of mixtures are called with, instead of calling them."""
    calls = []
    for name in ("mix_corpus", "mix_wsj0"):

        def record(*args, _name=name, **options):
            calls.append((_name, args, options))
            return "x", True

        monkeypatch.setattr(mixture_sets, name, record)
    return calls


def command(*words):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, words)],
        capture_output=True,
        text=True,
    )


def test_mix_then_manifests(speech, tmp_path):
    """The whole path, with the processes that the command starts."""
    words = (
        *("mix", "--speech", speech, "--out", tmp_path / "data"),
        *("--tr", 20, "--cv", 2, "--tt", 2, "--seed", 7),
    )
    done = command(*words)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "data" / "2speakers"
    assert f"--data_folder={folder}" in done.stderr
    assert "already" not in done.stderr
    files = prepare_manifests(folder, tmp_path / "save")
    lines = pathlib.Path(files["train"]).read_text().splitlines()
    assert len(lines) == 21
    again = command(*words)
    assert again.returncode == 0 and again.stdout == ""
    assert again.stderr.splitlines() == [
        "All of it is there already, made just so: kept.",
        f"The mixtures are in {folder}: --data_folder={folder}",
    ]


def test_every_option_of_mix_arrives(calls):
    line = (
        "mix --speech S --out O --n_spks 3 --rate 16000 --mode max "
        "--tr 1 --cv 2 --tt 3 --seed 4 --speaker_level 1"
    )
    assert prepare_data.main(line.split()) == 0
    options = {"n_spks": 3, "rate": 16000, "mode": "max", "seed": 4}
    options["speaker_level"] = 1
    options["counts"] = {"tr": 1, "cv": 2, "tt": 3}
    assert calls == [("mix_corpus", ("S", "O"), options)]


def test_every_option_of_wsj0_arrives(calls):
    line = (
        "wsj0 --wsj0 W --lists L --out O --levels V --n_spks 3 "
        "--rate 8000 16000 --mode min max --splits tt cv --jobs 5"
    )
    assert prepare_data.main(line.split()) == 0
    assert prepare_data.main("wsj0 --wsj0 W --lists L --out O".split()) == 0
    given = {"levels": "V", "n_spks": 3, "rates": [8000, 16000], "jobs": 5}
    usual = {"levels": None, "n_spks": 2, "rates": [8000], "jobs": None}
    given |= {"modes": ["min", "max"], "splits": ["tt", "cv"]}
    usual |= {"modes": ["min"], "splits": ["tr", "cv", "tt"]}
    assert calls == [
        ("mix_wsj0", ("W", "L", "O"), options) for options in (given, usual)
    ]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "mix --speech S",
        "mix --speech S --out O --mode mean",
        "wsj0 --wsj0 W --out O",
        "wsj0 --wsj0 W --lists L --out O --splits train",
        "check",
    ],
)
def test_bad_command_line(calls, line, capsys):
    with pytest.raises(SystemExit) as caught:
        prepare_data.main(line.split())
    assert caught.value.code == 2 and not calls
    assert "usage: prepare_data.py" in capsys.readouterr().err


@pytest.mark.parametrize("passed, status", [(True, 0), (False, 1)])
def test_check_tells_by_its_status(monkeypatch, passed, status):
    arrived = []

    def check(data, **options):
        arrived.append((data, options))
        return passed

    monkeypatch.setattr(doctor, "check", check)
    line = "check --data D --quick --levels V --problems P --speaker_level 1"
    assert prepare_data.main(line.split()) == status
    options = {"quick": True, "levels": "V", "problems": "P"}
    options["speaker_level"] = 1
    assert arrived == [("D", options)]


def test_user_error_is_one_line(tmp_path):
    done = command("mix", "--speech", tmp_path / "no", "--out", tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("prepare_data.py: error: ")
    assert "no is not a folder" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_speech_that_is_a_locked_folder(tmp_path, monkeypatch, capsys):
    """The superuser may read every folder, so it is played here."""
    (tmp_path / "speech").mkdir()
    iterdir = pathlib.Path.iterdir

    def locked(folder):
        if folder.name == "speech":
            raise PermissionError(13, "Permission denied", str(folder))
        return iterdir(folder)

    monkeypatch.setattr(pathlib.Path, "iterdir", locked)
    words = ["mix", "--speech", str(tmp_path / "speech"), "--out", "O"]
    assert prepare_data.main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path}/speech" in line and "Permission denied" in line


def test_worker_imports_stay_light():
    """Every process at work imports these: torch would cost seconds."""
    code = (
        "import sys, prepare_data\n"
        "import dpcl_dprnn.mixtures.rendering, dpcl_dprnn.speech.store\n"
        "import dpcl_dprnn.doctor.check\n"
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
    monkeypatch.setitem(sys.modules, "dpcl_dprnn.speech.corpus", fake)
    line = "corpus --out O --speakers 9 --hours 0.5 --seed 3"
    assert prepare_data.main(line.split()) == 0
    assert calls == [(("O",), {"speakers": 9, "hours": 0.5, "seed": 3})]
