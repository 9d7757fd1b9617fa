"""Options and fixtures that every test file shares."""

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
