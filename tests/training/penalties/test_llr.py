"""Local linearity is its definition at the point that its ascent finds, which is less linear than where it began."""

import copy

import pytest
import torch
import torch.nn.functional as F
from penalty_cases import EPS, value

from gradlens import UserError
from gradlens.core.seeds import image_uniform


def slowly(model, batch, steps, slope=0.75):
    model, image = copy.deepcopy(model).double(), batch.image.double()

    def loss(x):
        return F.cross_entropy(model(x), batch.target, reduction="none")

    def gradient(x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(loss(x).sum(), x)[0]

    here = gradient(image)
    delta = EPS * (2 * image_uniform(0, batch.index, "llr", (3, 32, 32)) - 1)
    for _ in range(steps):
        defect = loss(image + delta) - loss(image) - (delta * here).sum((1, 2, 3))
        uphill = defect.sign().view(-1, 1, 1, 1) * (gradient(image + delta) - here)
        delta = (delta + EPS / 2 * uphill.sign()).clamp(-EPS, EPS)
    foretold = (delta * here).sum((1, 2, 3))
    return ((loss(image + delta) - loss(image) - foretold).abs() + slope * foretold.abs()).detach()


def test_it_is_its_definition_in_float64(cnn, batch):
    torch.testing.assert_close(value(cnn, batch, "llr"), slowly(cnn, batch, 2), rtol=5e-3, atol=1e-5)


def test_the_ascent_finds_a_less_linear_point(cnn, batch):
    assert slowly(cnn, batch, 4, slope=0).mean() > 2 * slowly(cnn, batch, 0, slope=0).mean()
    assert value(cnn, batch, "llr:steps=4,slope=0").mean() > value(cnn, batch, "llr:steps=1,slope=0").mean()


@pytest.mark.parametrize("spec", ["llr:eps=0", "llr:eps=8", "llr:steps=0"])
def test_what_is_no_setting_is_refused(cnn, batch, spec):
    with pytest.raises(UserError):
        value(cnn, batch, spec)
