"""The benchmark compares like with like, and tells what it measured."""

import doctest
import importlib
import json
import pathlib
import statistics
import subprocess
import sys

import pytest
import torch

FOLDER = pathlib.Path(__file__).parents[2] / "benchmarks"
SUITES = "training inference pit dpcl kmeans scoring ranks growth".split()
SIZES = {
    "num_layers": 1,
    "num_filters": 16,
    "num_channels": 8,
    "hidden_size": 8,
    "chunk_length": 10,
    "embedding_size": 3,
}
REPEATS = 2


@pytest.fixture(scope="module", autouse=True)
def on_path():
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """What a run of everything at tiny sizes writes down."""
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    words = [sys.executable, str(FOLDER / "bench.py"), "--suite", *SUITES]
    words += f"--seconds 0.25 --lengths 0.1 0.2 --repeats {REPEATS}".split()
    words += ["--threads", "1", "--json", str(path), "--set"]
    words += [f"{key}={value}" for key, value in SIZES.items()]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text(encoding="utf-8"))
    record["printed"] = done.stdout
    return record


def of(record, suite):
    return [each for each in record["comparisons"] if each["suite"] == suite]


def names(comparison):
    return [row["name"] for row in comparison["contenders"]]


def timed(record):
    """All comparisons with the rows of those who took part."""
    for comparison in record["comparisons"]:
        rows = [row for row in comparison["contenders"] if "times" in row]
        assert rows, comparison["title"]
        yield comparison, rows


def test_every_suite_ran(record):
    suites = [comparison["suite"] for comparison in record["comparisons"]]
    assert list(dict.fromkeys(suites)) == SUITES


@pytest.mark.parametrize("suite", ["training", "inference"])
def test_every_system_meets_the_stock_recipe(record, suite):
    fp32, bf16 = of(record, suite)
    systems = ["dprnn", "dpcl_dprnn", "dpcl_dprnn_stft", "dpcl"]
    others = ["stock SpeechBrain fp32", "Asteroid's DPRNNTasNet fp32"]
    assert names(fp32) == others + [f"{each}.yaml fp32" for each in systems]
    assert names(bf16) == others + [f"{each}.yaml bf16" for each in systems]


def test_everyone_has_all_turns(record):
    for comparison, rows in timed(record):
        for row in rows:
            assert len(row["times"]) == REPEATS, comparison["title"]
            assert all(seconds > 0 for seconds in row["times"])


def test_those_who_are_not_there_are_told(record):
    notes = [
        row["note"]
        for comparison in record["comparisons"]
        for row in comparison["contenders"]
        if "times" not in row
    ]
    assert set(notes) <= {"not installed"}
    assert all(note in record["printed"] for note in notes)


def test_figures_are_those_of_the_times(record):
    for comparison, rows in timed(record):
        first = rows[0]["times"]
        for row in rows:
            spread = row["spread"]
            assert spread["median"] == statistics.median(row["times"])
            assert spread["min"] == min(row["times"])
            assert spread["max"] == max(row["times"])
            if rows[0]["name"] != names(comparison)[0]:
                assert "ratio" not in row  # nobody to compare with
                continue
            pairs = zip(row["times"], first, strict=True)
            ratios = [seconds / other for seconds, other in pairs]
            assert row["ratio"]["median"] == statistics.median(ratios)
            assert row["ratio"]["min"] == min(ratios)
            assert row["ratio"]["max"] == max(ratios)


def test_speed_is_audio_per_time(record):
    for suite in ("training", "inference", "ranks"):
        for comparison in of(record, suite):
            audio = comparison["seconds"] * comparison["batch"]
            for row in comparison["contenders"]:
                if "times" in row:
                    median = row["spread"]["median"]
                    assert row["real_time_factor"] == median / audio
                    assert row["audio_per_second"] == audio / median
                    assert row["peak_bytes"] > 2**20


def test_versions_and_settings_are_kept_and_printed(record):
    versions, settings = record["versions"], record["settings"]
    assert versions["torch"] == torch.__version__
    assert {"python", "speechbrain", "cpu", "OMP_NUM_THREADS"} <= set(versions)
    assert settings["threads"] == 1 and settings["hparams"] == SIZES
    assert torch.__version__ in record["printed"]
    assert "1 thread(s)" in record["printed"]


def test_all_compute_the_same(record):
    """Relative differences of one in a thousand would be another formula."""
    checks = {
        name: value
        for comparison in record["comparisons"]
        for name, value in comparison["checks"].items()
    }
    assert any("same weights" in name for name in checks)
    assert any("N x N" in name for name in checks)
    for name, value in checks.items():
        limit = 1e-3 if "dB" in name else 1e-5
        assert 0 <= value < limit, name


def test_growth_has_a_row_for_each_value(record):
    values = {}
    for comparison in of(record, "growth"):
        key = comparison["title"], comparison["axis"]
        values.setdefault(key, []).append(comparison["value"])
    by_axis = {axis: row for (_, axis), row in values.items()}
    assert by_axis == {
        "seconds of audio": [0.1, 0.2],
        "batch": [1, 2, 4, 8],
        "speakers": [2, 3, 4, 5],
    }
    assert len(values) == 9


def test_what_would_take_too_long_is_left_out():
    growth = importlib.import_module("growth")
    args = importlib.import_module("bench").parse_command_line(
        ["--cap", "2", "--repeats", "1"]
    )
    asked = []

    def make(value):
        return {"slow": lambda: asked.append(value) or float(value)}

    rows = [
        comparison["contenders"][0]
        for comparison in growth.along(args, "title", "axis", (1, 2, 4), make)
    ]
    assert [row.get("times") for row in rows] == [[1.0], [2.0], None]
    assert rows[2]["note"] == "left out: takes about 4 s"
    assert set(asked) == {1, 2}


def test_stock_has_the_sizes_of_the_hparams(tmp_path):
    """And its checkpoints load into ours."""
    others = importlib.import_module("others")
    hparams = others.load("dprnn", str(tmp_path), SIZES)
    stock = others.Stock(hparams)
    assert stock.encoder.conv1d.weight.shape == (16, 1, 16)
    estimates = stock(torch.randn(3, 801))
    assert estimates.shape == (3, 801, 2)
    for value in others.same_weights("dprnn", str(tmp_path), SIZES).values():
        assert 0 <= value < 1e-5


def test_what_would_not_fit_is_left_out():
    growth = importlib.import_module("growth")
    row = {"spread": {"median": 1.0}, "peak_bytes": 2**30}
    assert growth.too_much(row, 4, cap=4, memory=2**32) is None
    assert growth.too_much(row, 4, cap=4, memory=2**31) == "about 4 GiB"


@pytest.mark.parametrize("module", ["turns", "signals", "figures"])
def test_examples(module):
    failed, tried = doctest.testmod(importlib.import_module(module))
    assert tried and not failed


def test_an_unknown_key_is_an_error(capsys):
    bench = importlib.import_module("bench")
    with pytest.raises(SystemExit):
        bench.parse_command_line(["--set", "num_layer=1"])
    assert "num_layer=1: no hparams file has" in capsys.readouterr().err


def test_card_goes_on_after_a_part_that_fails(tmp_path):
    """Or takes too long; how each ended is kept after every one."""
    import card

    args = card.parse(["--speech", "voices", "--out", str(tmp_path)])
    parts = card.Parts(args)
    call = [sys.executable, "-c"]
    for name, code, seconds in (
        ("fails", "print('oh'); raise SystemExit(3)", 20),
        ("hangs", "import time; time.sleep(60)", 1),
        ("works", "import os; print(os.environ['WORD'])", 20),
    ):
        parts.run(name, [*call, code], seconds, env={"WORD": "fine"})
        done = json.loads((tmp_path / "done.json").read_text("utf-8"))
        assert list(done)[-1] == name
    ended = [each["status"] for each in done.values()]
    assert ended == [3, "too long", 0]
    said = [(tmp_path / f"{n}.txt").read_text("utf-8") for n in done]
    assert [each.strip() for each in said] == ["oh", "", "fine"]


@pytest.mark.parametrize("small", [(), ("--small",)])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_figures_of_a_card_are_asked_for_rightly(small, device):
    import bench
    import card

    args = card.parse(["--speech", "voices", "--device", device, *small])
    commands = card.figures(args)
    assert commands
    for words, _ in commands.values():
        asked = bench.parse_command_line(words)
        assert asked.device == device
        assert ("fp16" in asked.precision) <= (device == "cuda")


@pytest.mark.parametrize("small", [(), ("--small",)])
def test_training_of_a_card_is_one_that_train_takes(small, tmp_path):
    import card

    from dpcl_dprnn.training.options import load_hparams, parse_command_line

    words = ["--speech", "my voices, #1", "more", "--device=cpu", *small]
    args = card.parse([*words, "--batch_size=6", f"--out={tmp_path / 'card'}"])
    words = card.training(args, seconds=90.0)
    file, options, overrides = parse_command_line(words[2:])
    assert options.device == "cpu"
    hparams, _ = load_hparams(card.RECIPE / file, overrides)
    assert hparams["schedule"].max_minutes == 1.5
    loader = hparams["train_dataloader_opts"]
    assert loader["batch_size"] == 6 and loader["shuffle"]
    names = [pathlib.Path(each).name for each in hparams["speech_folder"]]
    assert names == ["my voices, #1", "more"]


def test_card_does_not_go_on_with_another_run(tmp_path, capsys):
    import card

    (tmp_path / "run").mkdir()
    with pytest.raises(SystemExit):
        card.parse(["--speech", "voices", "--out", str(tmp_path)])
    assert "has a run already" in capsys.readouterr().err
