"""What is known of an epoch, for TensorBoard and as the time that a robustness took."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest
from trainings import config, train

from gradlens import UserError
from gradlens.training.train import TrainResult


def test_tensorboard_shows_the_history(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = train(config(tmp_path, tensorboard=tmp_path / "board"))
    seen = EventAccumulator(str(tmp_path / "board")).Reload()
    assert [(e.step, e.value) for e in seen.Scalars("loss")] == [
        (row["epoch"], pytest.approx(row["loss"])) for row in result.history
    ]


def test_tensorboard_that_is_not_there_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        train(config(tmp_path, tensorboard=tmp_path / "board"))


def test_time_to_a_robustness_is_that_of_the_first_epoch_that_has_it():
    scores = [math.nan, 0.2, 0.4, 0.3]
    history = [{"seconds": 2.0 + k, "val_pgd10": score, "val_top1": 0.9} for k, score in enumerate(scores)]
    result = TrainResult(Path("last.pt"), Path("best.pt"), history, {})
    assert result.seconds_to(0.2) == 5
    assert result.seconds_to(0.3) == 9
    assert result.seconds_to(0.5, of="val_top1") == 2
    assert math.isnan(result.seconds_to(0.5))
