"""A stranger's hyperparams may build known classes, and do nothing else."""

import contextlib
import pathlib
import subprocess
import sys

import pytest
import torch
from model_folder import HPARAMS, make_model_folder

from dpcl_dprnn.common.errors import UserError
from dpcl_dprnn.inference.model_folder import inference_hparams
from dpcl_dprnn.inference.safety import KNOWN_CLASSES, check_tags, load_known

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
    with contextlib.suppress(UserError):
        load_known(text, "x.yaml")
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
        check_tags(text, "x.yaml")


@pytest.mark.parametrize(
    "path", sorted(HPARAMS.glob("*.yaml")), ids=lambda path: path.name
)
def test_models_of_this_recipe_are_let_through(path, tmp_path):
    text = inference_hparams(
        path.read_text(encoding="utf-8"), "", [1.0, 2.0], [[1.5, 9.0]]
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


def test_overrides_are_looked_at_too(tmp_path):
    made = tmp_path / "made"
    with pytest.raises(UserError):
        load_known(
            "a: 1", "x", {"a": f"(!!python/object/apply:os.mkdir ['{made}'])"}
        )
    assert not made.exists()
    assert load_known("a: 1", "x", {"a": 2}) == {"a": 2}


def test_what_is_refused_can_be_trusted(tmp_path, monkeypatch):
    from dpcl_dprnn.inference import SpeechSeparator

    folder = make_model_folder(tmp_path / "model")
    path = folder / "hyperparams.yaml"
    made = tmp_path / "made"
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}\nextra: !apply:os.mkdir ['{made}']\n")
    options = {"source": str(folder), "run_opts": {"device": "cpu"}}
    with pytest.raises(UserError, match="!apply:os.mkdir"):
        SpeechSeparator.from_hparams(**options)
    assert not made.exists()
    SpeechSeparator.from_hparams(**options, safe=False)
    assert made.is_dir()


def test_weights_are_data(tmp_path):
    """A pickle that would run a program is not loaded, safe or not."""
    from dpcl_dprnn.inference import SpeechSeparator

    class Attack:
        def __reduce__(self):
            return pathlib.Path.touch, (tmp_path / "made",)

    folder = make_model_folder(tmp_path / "model")
    torch.save({"a": Attack()}, folder / "separator.ckpt")
    for safe in (True, False):
        with pytest.raises(UserError, match="separator.ckpt"):
            SpeechSeparator.from_hparams(source=str(folder), safe=safe)
    assert not (tmp_path / "made").exists()
