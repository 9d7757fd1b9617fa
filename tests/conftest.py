"""Options and fixtures that every test file shares."""

import os
import types

import pytest
import torch


def pytest_addoption(parser):
    parser.addoption(
        "--device", default="cpu", help="where tensors live: cpu, cuda, cuda:1"
    )


@pytest.fixture
def device(request):
    return torch.device(request.config.getoption("--device"))


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A small model folder, of two speakers and both heads."""
    from model_folder import make_model_folder

    return make_model_folder(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="session")
def three_folder(tmp_path_factory):
    """A small model folder, of three speakers and both heads."""
    from model_folder import make_model_folder

    return make_model_folder(tmp_path_factory.mktemp("three") / "model", 3)


@pytest.fixture(scope="session")
def load(request):
    """Loads a model folder on the device of the tests."""
    from dpcl_dprnn.inference import SpeechSeparator

    device = request.config.getoption("--device")

    def load(folder, precision="fp32"):
        options = {"device": device, "precision": precision}
        return SpeechSeparator.from_hparams(source=folder, run_opts=options)

    return load


@pytest.fixture(scope="session")
def separator(model_folder, load):
    """The model of `model_folder`, which no test may change."""
    return load(model_folder)


@pytest.fixture(scope="session")
def three(three_folder, load):
    """The model of `three_folder`, which no test may change."""
    return load(three_folder)


@pytest.fixture
def lock(monkeypatch):
    """Make a folder unreadable, for the superuser too."""
    scandir = os.scandir

    def lock(name):
        def locked(folder):
            if os.path.basename(folder) == name:
                raise PermissionError(13, "Permission denied")
            return scandir(folder)

        monkeypatch.setattr(os, "scandir", locked)

    return lock


@pytest.fixture
def call(model_folder, request, capsys):
    """Run separate.py; give its status, lines of output and of errors."""
    import separate

    def run(*words, model=model_folder):
        device = request.config.getoption("--device")
        words = (*words, "--model", model, f"--device={device}")
        capsys.readouterr()
        status = separate.main([str(word) for word in words])
        said = capsys.readouterr()
        lines = said.err.replace("\r", "\n").split("\n")
        errors = [line for line in lines if "error" in line.lower()]
        assert "Traceback" not in said.err
        return types.SimpleNamespace(
            status=status,
            out=said.out.splitlines(),
            errors=errors,
            said=said.err,
        )

    return run
