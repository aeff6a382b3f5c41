"""The finite-difference penalty is its definition, near half the squared gradient, and the same in both engines."""

import copy

import pytest
import torch
import torch.nn.functional as F
from engine_cases import assert_agrees, assert_drops_the_same_units, classifier, each_engine, relu_cnn
from penalty_cases import value
from torch import nn

from gradlens import UserError
from gradlens.training.penalties import choose_penalty

TULIP = choose_penalty("tulip")


def test_it_is_its_definition_in_float64(cnn, batch):
    model, image = copy.deepcopy(cnn).double(), batch.image.double().requires_grad_()
    loss = F.cross_entropy(model(image), batch.target, reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), image)
    norm = gradient.flatten(1).norm(dim=1)
    moved = model(image + 0.01 * gradient / norm.view(-1, 1, 1, 1))
    there = F.cross_entropy(moved, batch.target, reduction="none")
    expected = (((there - loss) / 0.01) ** 2 / 2).detach()
    # What float32 logits leave of a difference over 0.01.
    torch.testing.assert_close(value(cnn, batch, "tulip"), expected, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(expected, norm**2 / 2, rtol=0.1, atol=0)


def dropping():
    return classifier(
        nn.Sequential(nn.Conv2d(3, 8, 3, 4), nn.GELU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8 * 64, 10))
    ).train()


@pytest.mark.parametrize("spec", ["tulip", "llr"])
def test_both_engines_give_the_gradient_of_float64(batch, spec):
    assert_agrees(relu_cnn(), batch, choose_penalty(spec))


@pytest.mark.parametrize("spec", ["tulip", "llr"])
def test_all_its_points_see_the_network_with_the_same_units_dropped(batch, spec):
    assert_drops_the_same_units(dropping(), batch, choose_penalty(spec))
    torch.manual_seed(5)
    # With other units dropped the loss would differ by nats over a hundredth of a pixel.
    assert value(dropping(), batch, "tulip").max() < 100


@pytest.mark.parametrize("spec", ["tulip", "llr"])
@each_engine
def test_statistics_hear_of_a_batch_once(batch, engine, spec):
    model, alone = (relu_cnn() for _ in range(2))
    alone.load_state_dict(model.state_dict())
    engine(model, batch, choose_penalty(spec), 1.0)
    alone(batch.image)
    for name, buffer in alone.named_buffers():
        torch.testing.assert_close(dict(model.named_buffers())[name], buffer)


def test_a_step_of_nothing_is_refused(cnn, batch):
    with pytest.raises(UserError, match="tulip"):
        value(cnn, batch, "tulip:h=0")
