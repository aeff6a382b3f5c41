"""What guards the finite differences: agreement with double backward, the kink alarm, falling back."""

import logging
import math

import pytest
import torch
from engine_cases import EDGE, GRADNORM, relu_cnn, slopes, smooth, snapshot
from torch import nn

from gradlens.training.engines import (
    CheckedFiniteDifference,
    FiniteDifference,
    agreement,
    double_backward,
    kink,
    plain_step,
)
from gradlens.training.engines import _replay as replay
from gradlens.training.penalties import choose_penalty

# --- agreement, alarm and falling back


@pytest.mark.parametrize("look", [agreement, kink], ids=["agreement", "kink"])
def test_looking_leaves_no_trace(batch, look):
    model = smooth(nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2)).train()
    plain_step(model, batch)
    before = snapshot(model)
    assert math.isfinite(look(FiniteDifference(), model, batch, EDGE))
    assert snapshot(model) == before


def test_agreement_is_the_cosine(cnn, batch):
    def doubled_and_bent(model, batch, penalised, weight, *, loss_weight=1.0, seed=0):
        double_backward(model, batch, penalised, weight, loss_weight=loss_weight, seed=seed)
        for k, parameter in enumerate(model.parameters()):
            parameter.grad.mul_(2 if k else -2)

    exact = slopes(double_backward, cnn, batch, GRADNORM)
    first = exact[: cnn.net[0].weight.numel()]
    expected = 1 - 2 * float(first.square().sum() / exact.square().sum())
    assert agreement(doubled_and_bent, cnn, batch, GRADNORM) == pytest.approx(expected, abs=1e-6)
    assert agreement(double_backward, cnn, batch, choose_penalty("gradnorm_hinge:threshold=99")) == 1


def test_first_step_is_checked_and_every_so_many_after_it(cnn, batch):
    engine = CheckedFiniteDifference(check_every=3, check_images=8)
    stats = [engine(cnn, batch, GRADNORM, weight) for weight in (0, 1, 1, 1, 1, 0, 1)]
    assert [not math.isnan(s.cosine) for s in stats] == [False, True, False, False, True, False, False]
    assert [not math.isnan(s.kink) for s in stats] == [False, True, False, False, False, False, False]
    assert all(s.cosine > 0.999 for s in stats if not math.isnan(s.cosine))
    assert [s.engine for s in stats] == [
        *("plain", "finite_difference"),
        *("finite_difference",) * 3,
        "plain",
        stats[1].engine,
    ]


def test_disagreement_falls_back_and_says_so(batch, monkeypatch, caplog):
    engine, model = CheckedFiniteDifference(check_every=2), relu_cnn()
    with monkeypatch.context() as without, caplog.at_level(logging.WARNING, "gradlens"):
        without.setattr(replay, "BRANCHES", {})
        stats = [engine(model, batch, EDGE, 1.0) for _ in range(2)]
    assert [s.engine for s in stats] == ["double_backward"] * 2
    assert stats[0].cosine < 0.9
    assert "kinks that finite differences step over" in caplog.messages[0]
    assert "0.99 is wanted: on with double backward" in caplog.messages[1]
    caplog.clear()
    with caplog.at_level(logging.WARNING, "gradlens"):
        stats = engine(model, batch, EDGE, 1.0)
    assert stats.engine == "finite_difference"
    assert "on with finite differences again" in caplog.messages[0]


@pytest.mark.parametrize(("lowest", "engine"), [(1.0, "double_backward"), (0.99, "finite_difference")])
def test_cosine_decides(cnn, batch, lowest, engine):
    stats = CheckedFiniteDifference(lowest_cosine=lowest)(cnn, batch, EDGE, 1.0)
    assert 0.99 < stats.cosine < 1
    assert stats.engine == engine


def test_cosine_that_is_no_number_is_no_agreement(cnn, batch, monkeypatch):
    monkeypatch.setattr("gradlens.training.engines._checked.agreement", lambda *_: math.nan)
    assert CheckedFiniteDifference()(cnn, batch, EDGE, 1.0).engine == "double_backward"


def test_fallback_is_exact(batch, monkeypatch):
    monkeypatch.setattr(replay, "BRANCHES", {})
    model = relu_cnn()
    found = slopes(CheckedFiniteDifference(), model, batch, EDGE, 1.2, 0.8)
    torch.testing.assert_close(found, slopes(double_backward, model, batch, EDGE, 1.2, 0.8))


def test_checks_do_not_change_the_steps(cnn, batch):
    model = smooth(nn.BatchNorm2d(8), nn.GELU(), nn.Dropout(0.2)).train()
    found = []
    for engine in (CheckedFiniteDifference(check_every=1), FiniteDifference()):
        torch.manual_seed(1)
        found.append(slopes(engine, model, batch, EDGE, 1.2, 0.8))
    assert torch.equal(*found)


def test_resumed_engine_checks_where_the_first_would(cnn, batch):
    whole, first, second = (CheckedFiniteDifference(check_every=3, check_images=4) for _ in range(3))
    expected = [whole(cnn, batch, GRADNORM, 1.0) for _ in range(5)]
    found = [first(cnn, batch, GRADNORM, 1.0) for _ in range(2)]
    second.load_state_dict(first.state_dict())
    found += [second(cnn, batch, GRADNORM, 1.0) for _ in range(3)]
    assert [math.isnan(s.cosine) for s in found] == [math.isnan(s.cosine) for s in expected]


def test_step_that_cannot_be_checked_goes_on_and_says_so(batch, caplog):
    model = smooth(nn.Hardsigmoid())
    with caplog.at_level(logging.WARNING, "gradlens"):
        stats = CheckedFiniteDifference()(model, batch, EDGE, 1.0)
    assert (stats.engine, math.isnan(stats.cosine)) == ("finite_difference", True)
    assert any("cannot be checked, double backward fails: derivative for" in m for m in caplog.messages)
