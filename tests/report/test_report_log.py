"""The log is read as SpeechBrain writes it."""

import math

import pytest
from speechbrain.utils.train_logger import FileTrainLogger

from dpcl_dprnn.report.log import curves, read_log


def write(path, epochs):
    logger = FileTrainLogger(path)
    for epoch, loss in epochs:
        logger.log_stats(
            {"epoch": epoch, "lr": 1e-3 / epoch},
            {"loss": loss, "seconds": 92.9},
            {"loss": loss - 1.0, "dpcl": 0.125},
        )
    logger.log_stats({"epoch loaded": 1}, test_stats={"loss": -5.0})


def test_numbers_come_back(tmp_path):
    write(tmp_path / "log", [(1, -14.5), (2, 1.5), (3, 250.0), (4, math.nan)])
    epochs = read_log(tmp_path / "log")
    assert [each["epoch"] for each in epochs] == [1, 2, 3, 4]
    losses = [each["train loss"] for each in epochs]
    assert losses == pytest.approx([-14.5, 1.5, 250.0, math.nan], nan_ok=True)
    assert [e["lr"] for e in epochs] == pytest.approx(
        [1e-3, 5e-4, 3.33e-4, 2.5e-4]
    )
    assert {e["valid dpcl"] for e in epochs} == {0.125}


def test_a_resumed_run_replaces_what_it_does_again(tmp_path):
    losses = [(1, 5.0), (2, 4.0), (3, 3.0), (2, 3.5), (3, 2.5)]
    write(tmp_path / "log", losses)
    found = [(e["epoch"], e["train loss"]) for e in read_log(tmp_path / "log")]
    assert found == [(1, 5.0), (2, 3.5), (3, 2.5)]
    # Epoch 3 of before does not belong to a run that is at 2.
    write(tmp_path / "log", [(1, 9.0), (2, 8.0)])
    found = [(e["epoch"], e["train loss"]) for e in read_log(tmp_path / "log")]
    assert found == [(1, 9.0), (2, 8.0)]


def test_curves_are_sorted(tmp_path):
    write(tmp_path / "log", [(1, 5.0), (2, 4.0)])
    found = curves(read_log(tmp_path / "log"))
    assert list(found) == ["loss", "dpcl", "lr", "seconds"]
    assert found["loss"]["valid"] == ([1, 2], [4.0, 3.0])
    assert list(found["lr"]) == [""]


def test_what_is_no_epoch_is_passed_over(tmp_path):
    (tmp_path / "log").write_text("epoch: x\n\nnonsense: 1 - - :\n")
    assert read_log(tmp_path / "log") == []
