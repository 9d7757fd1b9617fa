"""The rooms of the package, and which may import which."""

import ast
import pathlib

import pytest

import dpcl_dprnn

PACKAGE = pathlib.Path(dpcl_dprnn.__file__).parent
ARROWS = {
    "common": set(),
    "sound": {"common"},
    "speech": {"common", "sound"},
    "mixtures": {"common", "sound", "speech"},
    "datasets": {"common", "sound", "mixtures"},
    "doctor": {"common", "sound", "speech", "mixtures", "datasets"},
    "model": {"common"},
    "training": {"common"},
    "unmixing": {"common", "sound", "model"},
    "evaluation": {"common", "sound", "model", "unmixing"},
    "report": {"common", "sound", "evaluation"},
    "inference": {"common", "sound", "model", "unmixing"},
    "apps": {"common", "sound", "unmixing", "inference", "report"},
}


def rooms_that(path):
    """The rooms that a module imports from, by `from ..room.module`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 2 and node.module:
            yield node.module.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert not node.module.startswith("dpcl_dprnn"), node.lineno


def test_every_room_is_known():
    folders = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert folders == ARROWS.keys()
    assert [path.name for path in PACKAGE.glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_has_at_most_eight_modules(room):
    assert len(list((PACKAGE / room).glob("[!_]*.py"))) <= 8


@pytest.mark.parametrize("room", ARROWS)
def test_arrows(room):
    for path in (PACKAGE / room).glob("*.py"):
        assert set(rooms_that(path)) <= ARROWS[room], path.name


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_says_what_it_may_import(room):
    text = (PACKAGE / room / "__init__.py").read_text(encoding="utf-8")
    said = ast.get_docstring(ast.parse(text)).split("\n\n")[-1]
    assert {each for each in ARROWS if f"`{each}`" in said} == ARROWS[room]
