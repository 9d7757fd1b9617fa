"""The command line of the page, and how it ends."""

import os
import signal
import socket
import sys
import types

import pytest
from page_in_browser import Server, free_port

import app
from dpcl_dprnn.apps.page import import_gradio

pytest.importorskip("gradio")
pytest.importorskip("matplotlib")


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """What `main` changes for the process is put back."""
    for name in ("NO_PROXY", "no_proxy", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    handlers = {number: signal.getsignal(number) for number in app.ENDING}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_removes_its_files(number, model_folder, tmp_path):
    with Server(model_folder, tmp_path) as server:
        assert len(list(server.temporary.iterdir())) == 1
        assert server.stop(number) == 128 + number
    assert list(server.temporary.iterdir()) == []
    # Nothing was written where it ran, but for what this test wrote.
    left = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert left == {"temporary", "peers", "sitecustomize.py"}


def error_of(capsys, *words):
    """The line that a command ends with."""
    assert app.main([str(word) for word in words]) == 1
    error = capsys.readouterr().err
    assert error.startswith("app.py: error: ")
    assert error.count("\n") == 1
    return error


def test_no_model(capsys, tmp_path):
    options = ("--port", free_port(), "--model")
    assert "is not a folder" in error_of(capsys, *options, tmp_path / "none")
    assert "has no" in error_of(capsys, *options, tmp_path)
    # Such a name would be looked up in the network.
    assert "is not a folder" in error_of(capsys, *options, "user/name")


def test_busy_port(capsys, model_folder):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = error_of(capsys, "--model", model_folder, "--port", port)
    assert f"port {port}: Address already in use" in error


@pytest.mark.parametrize("host", ["a" * 64 + ".org", "a..b", "::1::"])
def test_hosts_that_cannot_be(host, capsys):
    error = error_of(capsys, "--model", "x", "--host", host)
    assert f"Cannot listen on {host}, port 7860: " in error
    assert "None" not in error


def test_no_gradio(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    error = error_of(capsys, "--model", "x")
    assert "pip install 'gradio>=6.31'" in error


@pytest.mark.parametrize(
    "version, fits",
    [("5.49.1", 0), ("6.30.9", 0), ("6.31.0", 1), ("6.32b1", 1), ("7.0", 1)],
)
def test_old_gradio(version, fits, capsys, monkeypatch):
    other = types.SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, "gradio", other)
    if fits:
        assert import_gradio() is other
    else:
        error = error_of(capsys, "--model", "x")
        assert f"this is {version}: pip install 'gradio>=6.31'" in error


def test_warns_of_other_computers(capsys, model_folder, monkeypatch):
    monkeypatch.setattr(app, "serve", lambda separator, args: signal.SIGINT)
    port = str(free_port())
    options = ["--model", str(model_folder), "--port", port]
    assert app.main(options) == 130
    assert "warning" not in capsys.readouterr().err
    assert app.main([*options, "--host", "0.0.0.0"]) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert "lets other computers use the page" in line


@pytest.mark.parametrize(
    "option", ["--port=0", "--port=65536", "--max_mb=0", "--max_seconds=nan"]
)
def test_numbers_that_make_no_sense(option, capsys):
    with pytest.raises(SystemExit):
        app.main(["--model", "x", option])
    assert option.split("=")[0] in capsys.readouterr().err
