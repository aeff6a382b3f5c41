"""An activation is its formula, and a network's are told by name, however it calls them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from refusals import refused
from scipy.special import erf, expit
from torch import nn

from gradlens import load_model, swap_activations
from gradlens.models._activations import ACTIVATIONS, activation_names, kind_of, make_activation, tried
from gradlens.models._zoo import digits_cnn

ALPHA = 3


def softplus(x, alpha=1.0):
    return np.log(1 + np.exp(alpha * x)) / alpha


FORMULAS = {
    "relu": lambda x: np.where(x > 0, x, 0),
    "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
    "silu": lambda x: x * expit(x),
    "softplus": softplus,
    f"softplus:alpha={ALPHA}": lambda x: softplus(x, ALPHA),
    "elu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    f"elu:alpha={ALPHA}": lambda x: np.where(x > 0, x, ALPHA * (np.exp(x) - 1)),
    "celu": lambda x: np.where(x > 0, x, np.exp(x) - 1),
    f"celu:alpha={ALPHA}": lambda x: np.where(x > 0, x, ALPHA * (np.exp(x / ALPHA) - 1)),
    "smoothrelu": lambda x: np.where(x > 0, x - np.log(400 * np.abs(x) + 1) / 400, 0),
    f"smoothrelu:alpha={ALPHA}": lambda x: np.where(x > 0, x - np.log(ALPHA * np.abs(x) + 1) / ALPHA, 0),
    "mish": lambda x: x * np.tanh(softplus(x)),
}
each_formula = pytest.mark.parametrize("spec", FORMULAS)


@each_formula
def test_an_activation_is_its_formula(spec):
    x = torch.linspace(-6, 6, 241, dtype=torch.float64)
    np.testing.assert_allclose(make_activation(spec)(x).numpy(), FORMULAS[spec](x.numpy()), rtol=0, atol=1e-12)


def test_every_activation_has_its_formula_here():
    assert {spec.partition(":")[0] for spec in FORMULAS} == set(ACTIVATIONS)


@each_formula
def test_an_activation_can_be_differentiated_twice(spec):
    x = torch.tensor([-2.0, -0.3, 0.2, 1.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(make_activation(spec), x)


@pytest.mark.parametrize("spec", [s for s in FORMULAS if s not in ("relu", f"elu:alpha={ALPHA}")])
def test_the_derivative_of_a_smooth_activation_has_no_jump(spec):
    below, above = (torch.tensor(s * 1e-9, dtype=torch.float64, requires_grad=True) for s in (-1, 1))
    slopes = [torch.autograd.grad(make_activation(spec)(x), x)[0] for x in (below, above)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-6)


@each_formula
def test_an_activation_is_told_by_the_name_that_makes_it(spec):
    assert make_activation(kind_of(make_activation(spec))).extra_repr() == make_activation(spec).extra_repr()
    assert kind_of(make_activation(spec)) == spec


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("gleu", ["'gleu'", "gelu"]),
        ("gelu:alpha=2", ["'gelu'", "no parameters"]),
        ("softplus:beta=2", ["'beta'", "alpha"]),
        ("softplus:alpha=-1", ["positive alpha"]),
        ("softplus:alpha=nan", ["positive alpha"]),
        ("softplus:alpha=soft", ["alpha=soft"]),
    ],
)
def test_an_activation_that_there_is_not_is_refused(spec, words):
    net = digits_cnn(activation="relu")
    with refused(*words):
        swap_activations(net, spec)
    assert activation_names(net) == ("relu",)


# --- those of a network


class Picky(nn.Module):
    """Calls its activations in training alone, on images of one size, and moves everything that a pass can move."""

    def __init__(self, side=32, looks=False):
        super().__init__()
        self.side, self.looks = side, looks
        self.conv, self.bn, self.drop = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)

    def forward(self, x):
        assert x.shape[-1] == self.side
        x = self.drop(self.bn(self.conv(x)))
        if self.looks and float(x.detach().sum()) == torch.inf:
            return x
        return (F.silu(x) if self.training else x).mean((2, 3))


@pytest.mark.parametrize("net", [Picky(224), Picky(looks=True)], ids=["meta", "for real"])
def test_a_pass_to_see_what_is_called_leaves_everything_as_it_was(net):
    net.train()
    net.drop.eval()
    before, random = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    assert activation_names(net) == ("silu",)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert [m.training for m in net.modules()] == [True, True, True, False]
    assert all(p.requires_grad and not p.is_meta for p in net.parameters())
    assert not any(m._forward_hooks for m in net.modules())


def test_shared_modules_and_tied_weights_survive_the_pass():
    conv, other = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    other.weight = conv.weight
    net = nn.Sequential(conv, nn.BatchNorm2d(3), conv, other)
    weight = conv.weight
    assert tried(net) is not None
    assert other.weight is conv.weight is weight
    assert not any(t.is_meta for t in net.state_dict().values())


def test_what_no_usual_image_fits_is_not_tried_and_lazy_layers_stay_lazy():
    assert tried(Picky(77)) is None
    lazy = nn.Sequential(nn.Flatten(), nn.LazyLinear(3), nn.ReLU())
    assert activation_names(lazy) == ("relu",)
    assert lazy[1].has_uninitialized_params()


def test_the_card_names_the_functions_of_a_network_that_has_no_modules():
    assert load_model(Picky(), normalized=True).card.activation == "silu"
    assert activation_names(torchvision.models.googlenet(init_weights=False)) == ("relu",)


def test_a_call_inside_an_activation_module_is_the_modules():
    trial = tried(nn.Sequential(nn.ReLU(), nn.GELU(), nn.Hardswish(), nn.Mish(), nn.LeakyReLU()))
    assert trial.calls == []
