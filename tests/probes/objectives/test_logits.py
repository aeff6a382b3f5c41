"""Objectives are the logits and probabilities that they are called, to the last digits that float64 has."""

import numpy as np
import pytest
import torch
from objective_cases import LOGITS, TARGET, cotangent

from gradlens.core.registry import objective
from gradlens.core.types import UserError
from gradlens.probes.objectives.logits import error_mass


def confident(gap):
    """Logits whose label leads the others by ``gap``, ``gap + 1``, …, and the exact probability ratios."""
    logits = -torch.arange(5, dtype=torch.float64)[None] - gap + 1
    logits[0, 0] = 0
    return logits, np.exp(logits[0, 1:].numpy())


@pytest.mark.parametrize("gap", [1, 40, 700])
def test_loss_of_a_confident_image_keeps_its_digits(gap):
    logits, ratio = confident(gap)
    label = torch.tensor([0])
    share = ratio / (1 + ratio.sum())
    np.testing.assert_allclose(objective["loss"](logits, label), [np.log1p(ratio.sum())], rtol=1e-12)
    np.testing.assert_allclose(error_mass(logits, label), [share.sum()], rtol=1e-12)
    np.testing.assert_allclose(cotangent("loss", logits, label)[0, 1:], share, rtol=1e-12)
    np.testing.assert_allclose(cotangent("loss", logits, label)[0, 0], -share.sum(), rtol=1e-12)


@pytest.mark.parametrize("gap", [40, 700])
def test_loss_of_a_confidently_wrong_image_is_its_margin(gap):
    logits, _ = confident(gap)
    label = torch.tensor([1])
    np.testing.assert_allclose(objective["loss"](logits, label), [gap], rtol=1e-12)
    np.testing.assert_allclose(error_mass(logits, label), [1], rtol=1e-12)
    np.testing.assert_allclose(cotangent("loss", logits, label)[0, :2], [1, -1], rtol=1e-12)


def test_soft_targets_average_the_hard_losses():
    soft = torch.rand(6, 5, dtype=torch.float64).softmax(1)
    hard = torch.stack([objective["loss"](LOGITS, torch.full((6,), k)) for k in range(5)], 1)
    torch.testing.assert_close(objective["loss"](LOGITS, soft), (soft * hard).sum(1), rtol=1e-12, atol=0)
    torch.testing.assert_close(cotangent("loss", LOGITS, soft), LOGITS.softmax(1) - soft, rtol=0, atol=1e-14)


def test_soft_targets_with_one_class_are_hard():
    soft = torch.nn.functional.one_hot(TARGET, 5).double()
    torch.testing.assert_close(
        objective["loss"](LOGITS, soft), objective["loss"](LOGITS, TARGET), rtol=1e-12, atol=1e-14
    )


def test_log_prob_is_the_negative_loss():
    assert torch.equal(objective["log_prob"](LOGITS, TARGET), -objective["loss"](LOGITS, TARGET))


def test_loss_cotangent_is_that_of_marginal_minus_label():
    expected = cotangent("logsumexp", LOGITS, TARGET) - cotangent("true_logit", LOGITS, TARGET)
    torch.testing.assert_close(cotangent("loss", LOGITS, TARGET), expected, rtol=0, atol=1e-14)


def test_margin_is_positive_where_the_prediction_is_right():
    right = LOGITS.argmax(1) == TARGET
    assert 0 < right.sum() < 6
    assert torch.equal(objective["margin"](LOGITS, TARGET) > 0, right)


def test_predicted_logit_is_the_largest():
    assert torch.equal(objective["predicted_logit"](LOGITS, TARGET), LOGITS.amax(1))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_sampled_class_follows_the_tempered_softmax(temperature):
    logits = torch.tensor([0.3, -1.0, 0.9, 0.0], dtype=torch.float64)
    draw = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    any_label = torch.zeros(10_000, dtype=torch.int64)
    sampled = objective.build(f"sampled_logit:temperature={temperature}")
    values = sampled(logits.expand(10_000, 4), any_label, draw)
    frequency = torch.stack([(values == v).double().mean() for v in logits])
    torch.testing.assert_close(frequency, (logits / temperature).softmax(0), rtol=0, atol=2e-4)


def test_sampled_class_exists_for_the_largest_draw():
    draw = torch.full((6,), 1 - 2**-53, dtype=torch.float64)
    assert torch.equal(objective["sampled_logit"](LOGITS, TARGET, draw), LOGITS[:, -1])


@pytest.mark.parametrize("name", ["true_logit", "margin"])
def test_objectives_of_one_class_refuse_soft_labels(name):
    with pytest.raises(UserError, match="the labels are soft"):
        objective[name](torch.randn(4, 3), torch.full((4, 3), 1 / 3))
