"""Model folders: found, whole, and trusted to build known classes alone."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import torch
from model_folder import HPARAMS, make_model_folder

from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.inference import SpeechSeparator, loading
from dpcl_dprnn.inference.loading import KNOWN_CLASSES, load_known
from dpcl_dprnn.inference.model_folder import inference_hparams
from dpcl_dprnn.unmixing.unmixer import Unmixer

# Each would make the file, if it were loaded.
ATTACKS = {
    "apply": "a: !apply:pathlib.Path.touch [!new:pathlib.Path ['{}']]",
    "apply in a list": "a: [1, !apply:os.mkdir ['{}']]",
    "apply of a key": "? !apply:os.mkdir ['{}']\n: 1",
    "new": "a: !new:tempfile.NamedTemporaryFile {{dir: '{}'}}",
    "name": "a: !name:os.mkdir ['{}']",
    "module": "a: !module:antigravity",
    "applyref": "a: !applyref:os.mkdir\n  _args: ['{}']\n  _kwargs: {{}}",
    "include": "a: !include:{}",
    "python/object/apply": "a: !!python/object/apply:os.mkdir ['{}']",
    "python/name": "a: !!python/name:os.mkdir",
    "a tuple": "a: (!!python/object/apply:os.mkdir ['{}'])",
    "a tuple in quotes": "a: \"(!!python/object/apply:os.mkdir ['{}'])\"",
    "a tuple with a tag": "a: !tuple '(!!python/object/apply:os.mkdir [x])'",
    "a tuple by reference": (
        'b: "!!python/object/apply:os.mkdir [x]"\na: !ref (<b>)'
    ),
    "a number without end": "b: 9\na: !ref <b> ** <b>",
    "a tuple in a folded text": (
        "a: >-\n  (!!python/object/apply:os.mkdir ['{}'])"
    ),
    "a tag by a short form": ("%TAG !x! !apply:\n---\na: !x!os.mkdir ['{}']"),
    "an anchor": "a: &x !apply:os.mkdir ['{}']\nb: *x",
    "an argument of a known class": (
        "a: !new:dpcl_dprnn.model.encoders.STFTEncoder\n"
        "  n_fft: !apply:os.mkdir ['{}']"
    ),
    "a class that is almost known": (
        "a: !new:dpcl_dprnn.model.separator.pathlib.Path ['{}']"
    ),
    "a method of a known class": (
        "a: !name:dpcl_dprnn.model.separator.Separator.load_state_dict"
    ),
    "files that are fetched": (
        "a: !new:speechbrain.utils.parameter_transfer.Pretrainer\n"
        "  loadables: {{}}\n  paths: {{separator: 'http://127.0.0.1/{}'}}"
    ),
    "files without names": (
        "a: !new:speechbrain.utils.parameter_transfer.Pretrainer ['{}']"
    ),
    "a local tag": "a: !x 1",
    "a binary": "a: !!binary R0lG",
}


@pytest.fixture
def folder(model_folder, tmp_path):
    """A model folder to be damaged."""
    return shutil.copytree(model_folder, tmp_path / "model")


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_else_is_let_through(attack, tmp_path):
    text = ATTACKS[attack].format(tmp_path / "made")
    with pytest.raises(UserError, match="could run any program") as caught:
        load_known(text, "hyperparams.yaml")
    assert list(tmp_path.iterdir()) == []
    message = str(caught.value)
    assert message.startswith("hyperparams.yaml, line ")
    assert "\n" not in message and "--trust_model" in message


def test_references_that_are_resolved_twice_do_nothing(tmp_path, monkeypatch):
    """The first pass shows a harmless text, the second one a tuple."""
    made = tmp_path / "made"
    text = (
        "e: ''\n"
        "a: !ref <c>\n"
        "c: !ref \"'<k>'\"\n"
        "k: !ref \"'\\\\\\\\x28!!python/object/apply:os.mkdir "
        "[made])'<e>\"\n"
    )
    program = (
        "import sys, hyperpyyaml as h; "
        "h.load_hyperpyyaml(h.resolve_references(sys.argv[1]).getvalue())"
    )
    # In a process of its own, as what was loaded before changes HyperPyYAML.
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-c", program, text], check=True)
    assert made.exists()  # the attack is one
    made.rmdir()
    path = tmp_path / "x.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError):
        loading.load_hparams(path, None, safe=True)
    assert not made.exists()


def test_the_oracle_can_fail(tmp_path):
    """These attacks work where nobody looks."""
    from hyperpyyaml import load_hyperpyyaml

    for attack in ("apply in a list", "a tuple", "an anchor"):
        made = tmp_path / attack.replace(" ", "_")
        load_hyperpyyaml(ATTACKS[attack].format(made))
        assert made.exists()


def test_the_tag_and_its_line_are_named():
    text = "a: 1\nb:\n  - 2\n  - !apply:os.getcwd []\n"
    with pytest.raises(UserError, match="line 4: the tag !apply:os.getcwd"):
        load_known(text, "x.yaml")


@pytest.mark.parametrize(
    "path", sorted(HPARAMS.glob("*.yaml")), ids=lambda path: path.name
)
def test_models_of_this_recipe_are_let_through(path, tmp_path):
    text = inference_hparams(
        path.read_text(encoding="utf-8"),
        "",
        Unmixer(
            None,
            2,
            output_gains=[1.0, 2.0],
            speaker_counting=[[0.0] * 5] * 2,
            expected_improvement={"masks": [-9.0, 8.0]},
        ),
    )
    hparams = load_known(text, path)
    assert isinstance(hparams["modules"]["separator"], torch.nn.Module)


def test_known_classes_are_there():
    import pydoc

    for name in KNOWN_CLASSES:
        assert isinstance(pydoc.locate(name), type), name


def test_ordinary_yaml_is_let_through():
    text = (
        "a: &x {b: 1, c: [2.5, true, null, text]}\n"
        "d: *x\n"
        "e: !ref <a[b]> * 3\n"
        "f: !copy <a>\n"
        "g:\n  <<: *x\n  b: 7\n"
        "h: 'f(x)'\n"
    )
    got = load_known(text, "x.yaml")
    assert got["d"] == got["f"] == {"b": 1, "c": [2.5, True, None, "text"]}
    assert got["e"] == 3 and got["g"]["b"] == 7 and got["h"] == "f(x)"


def test_overrides_run_nothing_either(tmp_path):
    made = tmp_path / "made"
    text = f"(!!python/object/apply:os.mkdir ['{made}'])"
    assert load_known("a: 1", "x", {"a": text}) == {"a": text}
    assert not made.exists()
    assert load_known("a: 1", "x", {"a": 2}) == {"a": 2}


def test_what_is_refused_can_be_trusted(tmp_path, monkeypatch, folder):
    path = folder / "hyperparams.yaml"
    made = tmp_path / "made"
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}\nextra: !apply:os.mkdir ['{made}']\n")
    options = {"source": folder, "run_opts": {"device": "cpu"}}
    with pytest.raises(UserError, match="!apply:os.mkdir"):
        SpeechSeparator.from_hparams(**options)
    assert not made.exists()
    SpeechSeparator.from_hparams(**options, safe=False)
    assert made.is_dir()


def test_weights_are_data(tmp_path, folder):
    """A pickle that would run a program is not loaded, safe or not."""

    class Attack:
        def __reduce__(self):
            return pathlib.Path.touch, (tmp_path / "made",)

    torch.save({"a": Attack()}, folder / "separator.ckpt")
    for safe in (True, False):
        with pytest.raises(UserError, match="separator.ckpt"):
            SpeechSeparator.from_hparams(source=folder, safe=safe)
    assert not (tmp_path / "made").exists()


# Found, or said to be missing or damaged


@pytest.mark.parametrize("name", ["hyperparams.yaml", "separator.ckpt"])
def test_a_model_folder_that_lacks_a_file(name, folder):
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"has no {name}"):
        SpeechSeparator.from_hparams(source=folder)


@pytest.mark.parametrize("source", ["nowhere", "./a/b", "/a/b", "~/a/b"])
def test_a_model_folder_that_is_not_there(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"{source} is not a folder"):
        SpeechSeparator.from_hparams(source=source)


def test_a_model_of_the_hub_that_cannot_be_fetched(monkeypatch):
    def fetch(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(loading, "fetch", fetch)
    with pytest.raises(UserError, match="no network"):
        SpeechSeparator.from_hparams(source="user/model")


def test_a_model_of_the_hub(model_folder, monkeypatch):
    """Its files are fetched one by one, as SpeechBrain does it."""
    asked = []

    def fetch(name, source, savedir):
        asked.append((name, source))
        return model_folder / name

    monkeypatch.setattr(loading, "fetch", fetch)
    SpeechSeparator.from_hparams(
        source="user/model", run_opts={"device": "cpu"}
    )
    files = ("hyperparams.yaml", "separator.ckpt")
    assert asked == [(name, "user/model") for name in files]


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("num_spks: 2", "num_spks: 2\n  : [", "is damaged"),
        ("num_spks: 2", "num_spks: two", "damaged"),
        ("modules:", "parts:", "has no modules"),
        ("modules:\n", "modules: text\nx:\n", "has no modules: separator"),
        ("    separator: !ref <separator>\n\n", "    x: 3\n\n", "separator"),
        (
            "separator: !ref <separator>\n\n",
            "separator: !ref <encoder>\n\n",
            "",
        ),
        ("sample_rate: 8000", "rate: 8000", "damaged"),
        ("hop: !ref", "hop: 200  #", "hop (200) must be at most n_fft / 2"),
        ("hidden_size: 8", "hidden_size: 999999999", "damaged"),
        ("output_gains: []", "output_gains: [a, b]", "damaged"),
        ("output_gains: []", "output_gains: [1.0]", "output_gains is [1.0]"),
        ("speaker_counting: [[", "speaker_counting: [[[", "damaged"),
        ("speaker_counting: [[", "speaker_counting: [5]  # ", "fit"),
        *(
            (
                "expected_improvement: {}",
                f"expected_improvement: {value}",
                f"expected_improvement is {shown}",
            )
            for value, shown in [
                ("{masks: [1.0]}", "{'masks': [1.0]}"),
                ("[]", "[]"),
                ("{masks: [1.0, .inf]}", "{'masks': [1.0, inf]}"),
            ]
        ),
        ("expected_improvement: {}", "expected_improvement: {a: [b, c]}", ""),
        ("# Evaluation", "[" * 3000, "damaged"),
    ],
)
def test_hparams_that_are_damaged(old, new, words, folder):
    refuses(folder, old, new, words)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("hop: !ref", "hop: 100  #", "multiple of the encoder's stride"),
        ("kernel_size: 16", "kernel_size: 0", "damaged"),
    ],
)
def test_hparams_of_learned_filters_that_are_damaged(old, new, words, tmp_path):
    folder = make_model_folder(tmp_path / "model", system="dpcl_dprnn")
    refuses(folder, old, new, words)


def refuses(folder, old, new, words):
    """That the folder is refused, in those words, with a change in its hparams."""
    path = folder / "hyperparams.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        SpeechSeparator.from_hparams(source=folder)
    message = str(caught.value)
    assert "\n" not in message and words in message
    assert message.startswith(str(path))


def test_counting_of_an_earlier_version_is_left_out(folder, caplog):
    """It was a boundary and a slope over another score."""
    path = folder / "hyperparams.yaml"
    text = re.sub(
        r"(speaker_counting: ).*", r"\1[[1.5, 9.0]]", path.read_text()
    )
    path.write_text(text)
    separator = SpeechSeparator.from_hparams(source=folder)
    assert not separator.counts
    assert "earlier version, and left out" in caplog.text


def test_weights_that_are_not_finite(folder):
    state = torch.load(folder / "separator.ckpt", weights_only=True)
    next(iter(state.values())).fill_(float("nan"))
    torch.save(state, folder / "separator.ckpt")
    with pytest.raises(UserError, match="NaN or infinite"):
        SpeechSeparator.from_hparams(source=folder)


def test_a_models_file_does_not_set_run_options(folder):
    path = folder / "hyperparams.yaml"
    path.write_text(path.read_text() + "\njit: True\ndevice: nowhere\n")
    separator = SpeechSeparator.from_hparams(source=folder)
    assert not separator.jit and str(separator.device) != "nowhere"


def test_overrides(model_folder):
    changed = SpeechSeparator.from_hparams(
        source=model_folder,
        overrides={"kmeans": {"softness": 5.0}},
        run_opts={"device": "cpu"},
    )
    assert changed.unmixer.kmeans["softness"] == 5.0
    assert changed.unmixer.kmeans["restarts"] == 10
