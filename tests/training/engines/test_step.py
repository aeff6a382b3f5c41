"""What every engine fills in: the weighted sum's gradient, once, and nothing else."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from engine_cases import (
    EDGE,
    GRADNORM,
    assert_drops_the_same_units,
    cosine,
    each_engine,
    flat,
    gradnorm_and_edge,
    in_float64,
    slopes,
    smooth,
)
from torch import nn

from gradlens.core.types import Batch, UserError
from gradlens.training.engines import (
    CheckedFiniteDifference,
    double_backward,
    make_engine,
    plain_step,
)
from gradlens.training.penalties import choose_penalty


@each_engine
def test_step_is_the_gradient_of_the_weighted_sum(cnn, batch, engine):
    """Against the loss written out in float64, with mean cross-entropy and the papers' GradNorm."""
    model, exact = in_float64(cnn, batch)
    image = exact.image.requires_grad_()
    losses = F.cross_entropy(model(image), batch.target, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), image, create_graph=True)
    (0.8 * losses.mean() + 1.2 * 0.1 * gradient.abs().sum((1, 2, 3)).mean()).backward()
    stats = engine(cnn, batch, choose_penalty("gradnorm:eps=.1"), 1.2, loss_weight=0.8)
    error = float((flat(cnn) - flat(model)).norm() / flat(model).norm())
    # A forward difference errs by half its step times the next derivative.
    assert error < (1e-4 if engine is double_backward else 2e-2)
    assert stats.loss == pytest.approx(losses.mean().item(), rel=1e-4)
    assert stats.penalty == pytest.approx(0.1 * gradient.abs().sum((1, 2, 3)).mean().item(), rel=1e-4)


@each_engine
def test_gradients_add_up(cnn, batch, engine):
    halves = batch[slice(0, 8)], batch[slice(8, 16)]
    whole = slopes(engine, cnn, batch, GRADNORM, 1.2, 0.8)
    for half in halves:
        engine(cnn, half, GRADNORM, 0.6, loss_weight=0.4)
    assert cosine(flat(cnn), whole) > 0.9999
    assert float(flat(cnn).norm() / whole.norm()) == pytest.approx(1, abs=1e-2)


@each_engine
def test_no_weight_is_a_plain_step(cnn, batch, engine):
    stats = engine(cnn, batch, GRADNORM, 0.0, loss_weight=0.5)
    found = flat(cnn)
    cnn.zero_grad()
    (0.5 * F.cross_entropy(cnn(batch.image), batch.target)).backward()
    torch.testing.assert_close(found, flat(cnn), rtol=1e-4, atol=1e-6)
    assert (stats.engine, math.isnan(stats.penalty)) == ("plain", True)


@each_engine
def test_frozen_parameters_stay_without_gradient(cnn, batch, engine):
    cnn.net[0].weight.requires_grad_(False)
    engine(cnn, batch, EDGE, 1.0)
    assert cnn.net[0].weight.grad is None
    assert cnn.net[3].weight.grad.any()


@each_engine
def test_batchnorm_hears_of_a_batch_once(cnn, batch, engine):
    cnn.train()
    once = copy.deepcopy(cnn)
    once(batch.image)
    engine(cnn, batch, EDGE, 1.0)
    for (name, found), expected in zip(cnn.named_buffers(), once.buffers(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7, msg=name)
    assert all(m.track_running_stats for m in cnn.modules() if isinstance(m, nn.BatchNorm2d))


@each_engine
def test_batchnorm_in_evaluation_mode_stays(cnn, batch, engine):
    before = copy.deepcopy(cnn.state_dict())
    engine(cnn, batch, EDGE, 1.0)
    assert all(torch.equal(v, before[k]) for k, v in cnn.state_dict().items())
    assert not cnn.training


@each_engine
def test_random_numbers_go_on_as_after_one_forward_pass(batch, engine):
    model = smooth(nn.GELU(), nn.Dropout(0.5)).train()
    torch.manual_seed(1)
    model(batch.image)
    expected = torch.get_rng_state()
    torch.manual_seed(1)
    engine(model, batch, EDGE, 1.0)
    assert torch.equal(torch.get_rng_state(), expected)


@gradnorm_and_edge
def test_engines_drop_the_same_units(batch, penalised):
    assert_drops_the_same_units(smooth(nn.GELU(), nn.Dropout(0.5)).train(), batch, penalised)


@each_engine
def test_seed_draws_the_classes(cnn, batch, engine):
    with torch.no_grad():
        cnn.net[-1].weight.mul_(1e-2)
    first, again, other = (slopes(engine, cnn, batch, EDGE, seed=seed) for seed in (0, 0, 1))
    torch.testing.assert_close(again, first, rtol=1e-3, atol=1e-5)
    assert cosine(first, other) < 0.99


@each_engine
def test_penalty_that_pulls_nowhere_leaves_the_loss(cnn, batch, engine):
    closed = choose_penalty("gradnorm_hinge:threshold=1000")
    stats = engine(cnn, batch, closed, 1.0, loss_weight=0.5)
    found = flat(cnn)
    cnn.zero_grad()
    plain_step(cnn, batch, 0.5)
    torch.testing.assert_close(found, flat(cnn), rtol=1e-4, atol=1e-6)
    assert stats.penalty == 0


@each_engine
@pytest.mark.parametrize(
    ("penalised", "message"),
    [
        (lambda probe: probe.gradient().abs(), r"returned \(16, 3, 32, 32\); wanted one number an image, \(16,\)"),
        (lambda probe: 3.0, r"returned float; wanted one number an image"),
        (lambda probe: probe.logits.detach().sum(1), "does not depend on the model"),
    ],
)
def test_what_is_no_penalty_is_refused(cnn, batch, engine, penalised, message):
    with pytest.raises(UserError, match=message):
        engine(cnn, batch, penalised, 1.0)


@each_engine
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_training_needs_labels_and_parameters(cnn, batch, engine, weight):
    with pytest.raises(UserError, match="has no labels, which cross-entropy is trained on"):
        engine(cnn, Batch(batch.image, None, batch.index), GRADNORM, weight)
    with pytest.raises(UserError, match="no parameter with requires_grad; unfreeze"):
        engine(cnn.requires_grad_(False), batch, GRADNORM, weight)


def test_engines_are_made_by_name():
    assert make_engine("double_backward") is double_backward
    assert make_engine("finite_difference") == CheckedFiniteDifference()
    assert make_engine("finite_difference") is not make_engine("finite_difference")
    with pytest.raises(UserError, match="unknown engine 'finite'; did you mean finite_difference"):
        make_engine("finite")
