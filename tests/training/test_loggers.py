"""Loggers beside the text log."""

import functools

import pytest
from refusals import refused
from speechbrain.utils.train_logger import FileTrainLogger

from dpcl_dprnn.training import options
from dpcl_dprnn.training.options import open_loggers


@pytest.fixture
def text_logger(tmp_path):
    return functools.partial(FileTrainLogger, tmp_path / "train_log.txt")


def test_the_text_log_alone(text_logger, tmp_path):
    (logger,) = open_loggers(text_logger, None, str(tmp_path))
    assert logger.save_file == tmp_path / "train_log.txt"


def test_an_unknown_logger_is_refused(text_logger, tmp_path):
    with refused("'mlflow'; it may be null, tensorb"):
        open_loggers(text_logger, "mlflow", str(tmp_path))


def test_what_is_not_installed_is_named(text_logger, tmp_path, monkeypatch):
    monkeypatch.setattr(options.importlib.util, "find_spec", lambda _: None)
    with refused("Run pip install wandb"):
        open_loggers(text_logger, "wandb", str(tmp_path))


def test_tensorboard_goes_on_where_the_run_does(text_logger, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing import event_accumulator

    for epochs in ([1, 2], [3]):  # a run that was stopped after two
        _, logger = open_loggers(text_logger, "tensorboard", str(tmp_path))
        for epoch in epochs:
            stats = {"loss": -1.0 * epoch}
            logger.log_stats({"epoch": epoch}, stats, valid_stats=stats)
        logger.log_stats({"epoch loaded": 3}, test_stats={"loss": -5.0})
        logger.logger.writer.close()
    events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    for name in ("loss/train", "loss/valid"):
        found = [(each.step, each.value) for each in events.Scalars(name)]
        assert found == [(1, -1.0), (2, -2.0), (3, -3.0)]
    assert {each.step for each in events.Scalars("loss/test")} == {3}
