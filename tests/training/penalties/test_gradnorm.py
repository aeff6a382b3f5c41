"""GradNorm and its kin against their papers' formulas and analytic cases."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from penalty_cases import EPS, exact_gradients, stub, value

from gradlens.analyzers._sample_asymmetry import SampleAsymmetry
from gradlens.core.types import UserError
from gradlens.probes.probe import Probe
from gradlens.training.penalties import choose_penalty


def test_gradnorm_is_the_papers(cnn, batch):
    """``(ε/σ) B mean_i ‖∂ mean CE / ∂xn_i‖₁``, in units of normalised input."""
    cnn.std.fill_(0.225)
    normalised = ((batch.image - cnn.mean) / cnn.std).requires_grad_()
    mean_loss = F.cross_entropy(cnn.net(normalised), batch.target)
    gradient = torch.autograd.grad(mean_loss, normalised)[0]
    expected = EPS / 0.225 * 16 * gradient.abs().sum((1, 2, 3)).mean()
    torch.testing.assert_close(value(cnn, batch, "gradnorm").mean(), expected, rtol=1e-4, atol=0)


def test_gradnorms_of_all_kinds(cnn, batch):
    specs = ("gradnorm", "gradnorm:norm=l2,eps=.5", "gradnorm:norm=l1,eps=2", "gradnorm_channel", "gradnorm_hinge")
    found = {spec: value(cnn, batch, spec).numpy() for spec in (*specs, "gradnorm_hinge:threshold=.3")}
    g = exact_gradients(cnn, batch, "loss")
    l1 = np.abs(g).sum((1, 2, 3))
    expected = {
        "gradnorm": EPS * l1,
        "gradnorm:norm=l2,eps=.5": 0.5 * np.sqrt(np.square(g).sum((1, 2, 3))),
        "gradnorm:norm=l1,eps=2": 2 * np.abs(g).max((1, 2, 3)),
        "gradnorm_channel": EPS * (np.abs(g).sum((2, 3)) @ np.array([1, 2, 1])),
        "gradnorm_hinge": np.maximum(EPS * l1 - 0.001, 0),
        "gradnorm_hinge:threshold=.3": np.maximum(EPS * l1 - 0.3, 0),
    }
    assert 0 < (expected["gradnorm_hinge:threshold=.3"] == 0).sum() < 16
    for spec, numbers in expected.items():
        np.testing.assert_allclose(found[spec], numbers, rtol=1e-4, atol=1e-7, err_msg=spec)


def test_marginal_density_is_the_gradient_of_logsumexp(cnn, batch):
    found = value(cnn, batch, "marginal_density:norm=l2,eps=1")
    g = exact_gradients(cnn, batch, "logsumexp")
    np.testing.assert_allclose(found, np.sqrt(np.square(g).sum((1, 2, 3))), rtol=1e-5)


def test_gradient_norms_are_the_analyzers(cnn, batch):
    for spec, objective, column in (
        ("gradnorm:eps=1", "loss", "l1"),
        ("gradnorm:eps=1,norm=l2", "loss", "l2"),
        ("gradnorm:eps=1,norm=l1", "loss", "linf"),
        ("marginal_density:eps=1", "logsumexp", "l1"),
    ):
        measured = SampleAsymmetry(objective).measure(Probe(cnn, batch))[column]
        torch.testing.assert_close(value(cnn, batch, spec).double(), measured, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_gradnorm_is_the_most_that_an_attack_gains_on_a_linear_loss(norm):
    gradient = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    best = {
        "linf": gradient.sign(),
        "l2": gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1),
        "l1": gradient.sign() * (gradient.abs() == gradient.abs().amax((1, 2, 3), keepdim=True)),
    }[norm]
    gain = (0.3 * best * gradient).sum((1, 2, 3))
    torch.testing.assert_close(choose_penalty(f"gradnorm:norm={norm},eps=.3")(stub(gradient)), gain)


def test_channel_weights_of_one_are_gradnorm():
    gradient = torch.randn(3, 3, 8, 8)
    found = choose_penalty("gradnorm_channel:green=1")(stub(gradient))
    torch.testing.assert_close(found, choose_penalty("gradnorm")(stub(gradient)))


def test_channel_weights_need_channels():
    with pytest.raises(UserError, match="the images have 1 channels; use gradnorm"):
        choose_penalty("gradnorm_channel")(stub(torch.randn(2, 1, 4, 4)))
