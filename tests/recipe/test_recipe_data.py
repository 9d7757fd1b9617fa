"""train.py on every kind of data, from its preparation to the scores."""

import csv
import gc
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import speechbrain as sb
import torch
import trees
from in_process import in_process
from shorten import write_shortened, write_sphere

import prepare_data
import train
from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.mixtures.sets import mix_corpus
from dpcl_dprnn.sound.rumble import without_rumble

RECIPE = pathlib.Path(train.__file__).parent
RATE = 8000
TINY = (
    *("--device=cpu", "--distributed_backend=gloo", "--precision=fp32"),
    *("--total_steps=2", "--warmup_steps=1", "--batch_size=2"),
    *("--training_crop=0.25", "--num_layers=1", "--hidden_size=8"),
    *("--num_channels=16", "--embedding_size=4"),
)
SCORES = ("test_results.csv", "test_results_kmeans.csv")
LEVELS = "--loss_weights={level: 0.2}"
DYNAMIC = "--dynamic_mixing={train: 12, valid: 2, test: 3}"


def train_here(folder, *words, hparams=RECIPE / "hparams" / "mini.yaml"):
    """Run train.py in this process; what goes through the model, by stage.

    Batches say what was `used` of them.
    """
    seen = {stage: [] for stage in sb.Stage}
    forward = train.Separation.compute_forward

    def record(brain, batch, stage):
        seen[stage].append(batch)
        batch.used = forward(brain, batch, stage)
        return batch.used

    words = (*TINY, f"--output_folder={folder}", *words)
    # The last one of equal options counts.
    words = {word.split("=")[0]: word for word in words}.values()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.Separation, "compute_forward", record)
        try:
            in_process(train.main, str(hparams), *words)
        except KeyboardInterrupt:
            pass
    return seen


def scored(folder):
    """The utterances in both tables of scores, which agree."""
    found = []
    for name in SCORES:
        with open(folder / name, newline="", encoding="utf-8") as file:
            header, *rows, average = csv.reader(file)
        assert header[0] == "snt_id" and average[0] == "avg"
        assert np.isfinite([float(cell) for cell in average[1:]]).all()
        found.append([row[0] for row in rows])
    assert found[0] == found[1]
    return found[0]


def noise_in(batch, clean=without_rumble):
    """The largest sample of test mixtures that is not of a source; files of
    mixtures are read without rumble.
    """
    return max(
        np.abs(mixture - clean(sources.sum(dim=-1).numpy(), 8000)).max()
        for mixture, sources in zip(
            *(
                [
                    x[: round(float(n) * len(x))]
                    for x, n in zip(*each, strict=True)
                ]
                for each in (batch.mixture, batch.sources)
            ),
            strict=True,
        )
    )


def is_as_loaded(batch):
    """Whether the mixtures came to the model as they were in the batch."""
    signals = {name: batch.used[name] for name in ("mixture", "sources")}
    signals["sources"] = signals["sources"].transpose(1, 2)
    return all(
        signal.shape == getattr(batch, name).data.shape
        and torch.allclose(signal, getattr(batch, name).data, atol=1e-6)
        for name, signal in signals.items()
    )


def change_mini(folder, old, new):
    """A copy of mini.yaml that has another line."""
    text = (RECIPE / "hparams" / "mini.yaml").read_text(encoding="utf-8")
    assert text.count(old) == 1
    path = folder / "changed.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


# Mixtures on the disk


def scp(folder, num_spks=2):
    return trees.make_scp(folder / "lists", folder / "sounds", num_spks)


NOISY = ("--mixture_type=both", "--mixture_consistency=False")
LAYOUTS = {  # beside wsj0-2mix, which other tests train on
    "wsj0-3mix": (lambda x: trees.make_wsj0mix(x, 3), "tt", "--num_spks=3"),
    "custom": (trees.make_custom, "test"),
    "librimix": (trees.make_librimix, "test"),
    "librimix-both": (trees.make_librimix, "test", *NOISY),
    "mini-librimix": (trees.make_mini_librimix, "val"),
    "wham": (trees.make_wham, "tt", *NOISY),
    "scp-3": (lambda folder: scp(folder, 3), "tt", "--num_spks=3"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout(layout, tmp_path):
    make, split, *options = LAYOUTS[layout]
    data = make(tmp_path / "data")
    seen = train_here(
        tmp_path / "run", "--debug", f"--data_folder={data}", *options
    )
    assert scored(tmp_path / "run") == [
        f"{split}{n}a_0.5_{n}b_-0.5" for n in range(2)
    ]
    assert len(seen[sb.Stage.TRAIN]) == 2  # steps
    assert not any(is_as_loaded(batch) for batch in seen[sb.Stage.TRAIN])
    noisy = "--mixture_type=both" in options
    for batch in seen[sb.Stage.TEST]:
        assert batch.sources.data.shape[-1] == (3 if "3" in layout else 2)
        assert (noise_in(batch) > 0.005) == noisy


def test_two_and_three_speakers_together(tmp_path):
    """Of folders of their own; a third source is silent where it lacks."""
    two = trees.make_wsj0mix(tmp_path / "2speakers")
    three = trees.make_wsj0mix(tmp_path / "3speakers", 3)
    for path in three.rglob("*.wav"):
        path.rename(path.with_name(f"x{path.name}"))
    words = ("--debug", "--num_spks=3", f"--data_folder=[{two}, {three}]")
    with pytest.raises(UserError, match="level: 0.2"):
        train_here(tmp_path / "idle outputs", *words)
    seen = train_here(tmp_path / "run", *words, LEVELS)
    numbers = set()
    for batch in seen[sb.Stage.TRAIN] + seen[sb.Stage.VALID]:
        audible = (batch.sources.data.abs().sum(dim=1) > 0).sum(dim=1)
        numbers |= set(audible.tolist())
    assert numbers == {2, 3}
    text = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "2speakers, 3speakers" in text


UTTERANCES = [
    *(f"si_tr_s/01{letter}/01{letter}o030v" for letter in "abc"),
    *(f"si_dt_05/22{letter}/22{letter}c0105" for letter in "ghi"),
]


@pytest.fixture(scope="module")
def wsj0(tmp_path_factory):
    """WSJ0 as it ships, and lists of all pairs and triples of a set."""
    folder = tmp_path_factory.mktemp("wsj0")
    for number, name in enumerate(UTTERANCES):
        samples = np.random.default_rng(number).integers(
            -3000, 3000, 10000 + 500 * number, np.int16
        )
        write = write_shortened if number == 3 else write_sphere
        write(folder / "11-1.1" / "wsj0" / f"{name}.wv1", samples)
    (folder / "lists").mkdir()
    paths = [f"wsj0/{name}.wav" for name in UTTERANCES]
    for split in ("tr", "cv", "tt"):
        a, b, c = paths[3:] if split == "tt" else paths[:3]
        for count, lines in (
            (2, [f"{a} 1.5 {b} -1.5 \n", f"{b} 0.25 {c} -0.25 \n"]),
            (3, [f"{a} {g} {b} -{g} {c} 0 \n" for g in (1, 2)]),
        ):
            path = folder / "lists" / f"mix_{count}_spk_{split}.txt"
            path.write_text("".join(lines))
    return folder


@pytest.mark.parametrize(
    "count, names",
    [
        (2, ["22gc0105_1.5_22hc0105_-1.5", "22hc0105_0.25_22ic0105_-0.25"]),
        (3, [f"22gc0105_{g}_22hc0105_-{g}_22ic0105_0" for g in (1, 2)]),
    ],
)
def test_wsj0(count, names, wsj0, tmp_path):
    terminated = signal.getsignal(signal.SIGTERM)
    try:
        status = prepare_data.main(
            [
                *("wsj0", "--wsj0", str(wsj0), "--out", str(tmp_path)),
                *("--lists", str(wsj0 / "lists"), "--n_spks", str(count)),
            ]
        )
    finally:
        signal.signal(signal.SIGTERM, terminated)
    assert status == 0
    seen = train_here(
        *(tmp_path / "run", "--debug", f"--num_spks={count}"),
        f"--data_folder={tmp_path / f'{count}speakers'}",
    )
    assert scored(tmp_path / "run") == names
    for batch in seen[sb.Stage.TEST]:
        assert noise_in(batch) < 3 / 32768


# Mixtures on the fly


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Fifteen speakers, that are divided 11, 2 and 2, or 9, 3 and 3."""
    folder = tmp_path_factory.mktemp("speech")
    for number, speaker in enumerate("abcdefghijklmno"):
        rng = np.random.default_rng(number)
        samples = 0.1 * rng.standard_normal(RATE * 6 // 10 + 50 * number)
        (folder / speaker).mkdir()
        soundfile.write(folder / speaker / f"{speaker}.wav", samples, RATE)
    return folder


@pytest.mark.parametrize("given", ["as an option", "in the file"])
def test_speech_folder_is_enough(given, speech, tmp_path):
    if given == "as an option":
        words, options = [f"--speech_folder={speech}"], {}
    else:
        line = f"speech_folder: {speech}"
        path = change_mini(tmp_path, 'speech_folder: ""', line)
        words, options = [], {"hparams": path}
    seen = train_here(tmp_path, *words, DYNAMIC, **options)
    names = scored(tmp_path)
    # What is kept of the hparams can be run as it is.
    assert "PLACEHOLDER" not in (tmp_path / "hyperparams.yaml").read_text()
    assert [name.split("_")[0] for name in names] == ["0-0", "0-1", "0-2"]
    heard = {
        stage: {talker for b in batches for talker in speakers_of(b)}
        for stage, batches in seen.items()
    }
    assert len(heard[sb.Stage.VALID]) == len(heard[sb.Stage.TEST]) == 2
    assert len(set().union(*heard.values())) == sum(map(len, heard.values()))
    for batch in seen[sb.Stage.TRAIN]:
        # A chunk of 25 frames, of the quarter of a second that is asked for.
        assert batch.mixture.data.shape == (2, 25 * 64 - 1)
        assert noise_in(batch, clean=lambda x, _: x) < 1e-6
    for batches in seen.values():
        assert all(is_as_loaded(batch) for batch in batches)
    assert list((tmp_path / "save" / "speech").glob("*.int16"))
    separated = sorted((tmp_path / "separated").glob("*_mix.wav"))
    assert [path.name for path in separated] == [f"{n}_mix.wav" for n in names]


def speakers_of(batch):
    return [talker for name in batch.id for talker in name.split("_")[1::2]]


def test_speech_for_training_alone(speech, tmp_path):
    """Validation and test keep to the mixtures on the disk."""
    data = trees.make_wsj0mix(tmp_path / "data")
    words = (f"--speech_folder={speech}", f"--data_folder={data}", DYNAMIC)
    seen = train_here(tmp_path / "run", *words)
    assert scored(tmp_path / "run") == [
        f"tt{n}a_0.5_{n}b_-0.5" for n in range(2)
    ]
    for stage, start in ((sb.Stage.TRAIN, "1-"), (sb.Stage.VALID, "cv")):
        assert len(seen[stage]) == 2
        for batch in seen[stage]:
            assert all(name.startswith(start) for name in batch.id)
            assert is_as_loaded(batch)


def test_two_or_three_speakers(speech, tmp_path):
    settings = "{train: 4, valid: 6, test: 6, speakers: [2, 3]}"
    words = (
        *(f"--speech_folder={speech}", "--num_spks=3"),
        f"--dynamic_mixing={settings}",
    )
    with pytest.raises(UserError, match="fewer speakers than num_spks, 3"):
        train_here(tmp_path / "idle outputs", *words)
    seen = train_here(tmp_path, *words, LEVELS)
    assert len(scored(tmp_path)) == 6
    counts = {len(speakers_of(batch)) for batch in seen[sb.Stage.TEST]}
    assert counts == {2, 3}


def ids(seen):
    """What each step of training was on."""
    return [batch.id for batch in seen[sb.Stage.TRAIN]]


def weights(folder):
    """Those of the last checkpoint."""
    newest = max(folder.glob("save/CKPT*"))
    return torch.load(newest / "separator.ckpt")


TWO_EPOCHS = ("--total_steps=12", "--ckpt_interval_steps=2")


@pytest.fixture(scope="module")
def undisturbed(speech, tmp_path_factory):
    """Runs by their kind of data: arguments, folder, what steps were on."""
    folder = tmp_path_factory.mktemp("undisturbed")
    counts = {"tr": 12, "cv": 2, "tt": 3}
    data, _ = mix_corpus(speech, folder / "data", counts=counts, jobs=1)
    runs = {}
    for kind, words in {
        "on the fly": (f"--speech_folder={speech}", DYNAMIC),
        "files": (f"--data_folder={data}",),
    }.items():
        words = (*words, *TWO_EPOCHS)
        seen = ids(train_here(folder / kind, *words))
        assert len(seen) == 12
        runs[kind] = words, folder / kind, seen
    names = {name for step in runs["on the fly"][2] for name in step}
    assert len(names) == 24
    return runs


@pytest.mark.parametrize(
    "kind, stop, options",
    [
        ("files", 4, ()),
        ("on the fly", 4, ()),
        (
            *("on the fly", 10),
            (
                "--train_dataloader_opts="
                "{num_workers: 2, persistent_workers: True}",
            ),
        ),
    ],
)
def test_run_goes_on_in_the_middle_of_an_epoch(
    kind, stop, options, undisturbed, tmp_path, monkeypatch
):
    """Stopped in a step, it goes on from the checkpoint after the last even
    one: with the same mixtures, to the same weights, on any workers.
    """
    arguments, folder, wanted = undisturbed[kind]
    arguments = (*arguments, *options)
    fit_batch, steps = train.Separation.fit_batch, []

    def interrupt(brain, batch):
        steps.append(batch)
        if len(steps) == stop:
            raise KeyboardInterrupt
        return fit_batch(brain, batch)

    # PyTorch waits as long for workers that it cannot tell to end any more.
    module = torch.utils.data._utils
    monkeypatch.setattr(module, "MP_STATUS_CHECK_INTERVAL", 0.2, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(train.Separation, "fit_batch", interrupt)
        first = ids(train_here(tmp_path, *arguments))
    assert first == wanted[: stop - 1]
    second = ids(train_here(tmp_path, *arguments))
    gc.collect()
    assert second == wanted[stop - 2 :]
    got = weights(tmp_path)
    for name, value in weights(folder).items():
        assert torch.equal(got[name], value), name
    assert scored(tmp_path) == scored(folder)
    for name in SCORES:
        assert (tmp_path / name).read_text() == (folder / name).read_text()


# Writes down which process has which mixtures.
NOTING_PROGRAM = """
import os, pathlib, sys
import train

forward = train.Separation.compute_forward

def note(brain, batch, stage):
    path = pathlib.Path(sys.argv[0]).with_name(f"{stage.name}{os.environ['RANK']}")
    with open(path, "a") as file:
        file.writelines(f"{name}\\n" for name in batch.id)
    return forward(brain, batch, stage)

train.Separation.compute_forward = note
train.run(sys.argv[1:])
"""


def test_number_of_processes_does_not_change_the_scores(speech, tmp_path):
    """Two of them train and test, then one tests again. None has a mixture
    of the other.
    """
    program = tmp_path / "noting.py"
    program.write_text(NOTING_PROGRAM)
    arguments = (f"--speech_folder={speech}", DYNAMIC)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc_per_node=2", str(program), "hparams/mini.yaml"),
            *(*TINY, *arguments, f"--output_folder={tmp_path}"),
        ],
        cwd=RECIPE,
        env={
            **os.environ,
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
            "PYTHONPATH": str(RECIPE),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Test scores") == 1
    two = {name: (tmp_path / name).read_text() for name in SCORES}
    assert len(scored(tmp_path)) == 3
    for stage, counts in {
        "TRAIN": [4, 4],
        "VALID": [1, 1],
        "TEST": [2, 1],
    }.items():
        names = [(tmp_path / f"{stage}{n}").read_text().split() for n in (0, 1)]
        assert [len(each) for each in names] == counts
        assert len({*names[0], *names[1]}) == sum(counts)
    train_here(tmp_path, *arguments, "--test_only")
    assert two == {name: (tmp_path / name).read_text() for name in SCORES}
