"""The finite difference's step: grown where float32 rounds the difference away, left alone where kinks are why."""

import logging

import pytest
import torch
from engine_cases import EDGE, GRADNORM, gradnorm_and_edge, relu_cnn
from torch import nn

from gradlens.training.engines import CheckedFiniteDifference, FiniteDifference, agreement, find_step
from gradlens.training.engines import _replay as replay


class Coarse(nn.Module):
    """Rounds images to some 3e-3, as a deep network does layer by layer, each pixel elsewhere; its derivative is 1."""

    def forward(self, image):
        offset = torch.linspace(20000, 40000, image[0].numel()).view_as(image[0])
        return (image + offset) - offset


@pytest.fixture
def rounding(cnn):
    cnn.net.insert(0, Coarse())
    return cnn


@gradnorm_and_edge
def test_step_grows_out_of_rounding(rounding, batch, penalised):
    usual = FiniteDifference()
    found = find_step(usual, rounding, batch, penalised)
    assert agreement(usual, rounding, batch, penalised) < 0.99
    # A thousandth is what two steps may differ by, each from the other.
    assert agreement(found, rounding, batch, penalised) > 0.998
    assert usual.growth == 1 < found.growth


@gradnorm_and_edge
def test_step_that_agrees_stays(cnn, batch, penalised):
    assert find_step(FiniteDifference(), cnn, batch, penalised) == FiniteDifference()


def test_step_does_not_grow_over_kinks(batch, monkeypatch):
    monkeypatch.setattr(replay, "BRANCHES", {})
    assert find_step(FiniteDifference(), relu_cnn(), batch, EDGE).growth == 1


def test_growth_passes_the_cap_and_is_said(rounding, batch, caplog):
    engine = CheckedFiniteDifference()
    with caplog.at_level(logging.WARNING, "gradlens"):
        stats = [engine(rounding, batch, EDGE, 1.0) for _ in range(2)]
    assert {s.engine for s in stats} == {"finite_difference"}
    assert stats[0].cosine > 0.99
    assert min(s.displacement for s in stats) > 0.1
    (said,) = caplog.messages
    assert "rounding drowns finite differences" in said
    assert "times as long, which may pass the cap of 0.1 ε" in said


def test_falling_back_names_rounding(rounding, batch, caplog):
    with caplog.at_level(logging.WARNING, "gradlens"):
        stats = CheckedFiniteDifference(lowest_cosine=1.0)(rounding, batch, EDGE, 1.0)
    assert stats.engine == "double_backward"
    assert "(rounding), 1 is wanted: on with double backward" in caplog.messages[-1]


def test_resumed_engine_steps_as_far(rounding, batch):
    first, second = CheckedFiniteDifference(), CheckedFiniteDifference()
    first(rounding, batch, GRADNORM, 1.0)
    second.load_state_dict(first.state_dict())
    assert second.fast.growth == first.fast.growth > 1
    found = [engine(rounding, batch, GRADNORM, 1.0).displacement for engine in (first, second)]
    assert found[0] == found[1]
