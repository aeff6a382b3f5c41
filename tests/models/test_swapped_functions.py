"""Activations that a forward calls as functions are swapped while it runs, as if it were written with the others."""

from __future__ import annotations

import functools

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from functional_nets import SITES, Calling, Parent, both, images, randomise
from refusals import refused
from torch import nn

from gradlens import swap_activations
from gradlens.models._activations import activation_names


def test_activations_called_as_functions_are_swapped():
    net, built = both()
    keys, children = list(net.state_dict()), list(net._modules)
    assert activation_names(net) == ("leakyrelu", "relu")
    before = net(images(8))
    assert swap_activations(net, "gelu") == SITES
    assert activation_names(net) == ("gelu",)
    torch.testing.assert_close(net(images(8)), built(images(8)), rtol=0, atol=1e-7)
    assert not torch.allclose(net(images(8)), before, rtol=1e-2)
    assert (list(net.state_dict()), list(net._modules)) == (keys, children)
    assert isinstance(net, Calling)
    assert type(net).__name__ == "Calling"


def test_other_networks_of_the_class_stay_as_they_are():
    net, other = randomise(Calling()), randomise(Calling())
    before = other(images(8))
    swap_activations(net, "gelu")
    assert type(other) is Calling
    assert torch.equal(other(images(8)), before)


def test_a_function_can_be_swapped_again():
    net, built = both()
    for to in ("relu", "softplus:alpha=10", "gelu"):
        assert swap_activations(net, to) == SITES
        assert activation_names(net) == (to,)
    assert type(net).__mro__[1] is Calling
    torch.testing.assert_close(net(images(8)), built(images(8)), rtol=0, atol=1e-7)


def test_each_module_keeps_what_was_swapped_into_it():
    net = Parent()
    x = torch.randn(50)
    assert swap_activations(net, "gelu") == 2
    assert swap_activations(net.child, "silu") == 1
    assert torch.equal(net(x), F.gelu(F.relu6(x + 3) / 6 + F.silu(x)))
    assert activation_names(net) == ("gelu", "silu")


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


class Decorated(nn.Module):
    """Keeps a module and a gate beside what it calls under a decorator."""

    def __init__(self):
        super().__init__()
        self.act = nn.Mish()

    @decorated
    def forward(self, x):
        return F.relu(self.act(x)) * torch.sigmoid(x) + x.clamp(min=0)


def test_decorators_are_no_obstacle_and_gates_and_arithmetic_stay():
    net, x = nn.Sequential(nn.Sequential(Decorated())), torch.randn(2, 3, 32, 32)
    assert swap_activations(net, "silu") == 2
    assert torch.equal(net(x), F.silu(F.silu(x)) * torch.sigmoid(x) + x.clamp(min=0))


def test_a_module_put_in_after_the_swap_keeps_its_own_function():
    net, x = nn.Sequential(Decorated()), torch.randn(2, 3, 32, 32)
    swap_activations(net, "silu")
    net[0].act = nn.ReLU()
    assert torch.equal(net(x), F.silu(F.relu(x)) * torch.sigmoid(x) + x.clamp(min=0))


def test_functions_write_into_their_argument_where_they_did():
    class Writing(nn.Module):
        def forward(self, x):
            x = x + 0
            for function in (F.relu_, torch.relu_, lambda t: t.relu_(), lambda t: F.silu(t, True)):
                assert function(x) is x
            return x

    net, x = Writing(), torch.randn(2, 3, 32, 32)
    assert swap_activations(net, "gelu") == 4
    assert torch.equal(net(x), F.gelu(F.gelu(F.gelu(F.gelu(x)))))


def test_a_network_without_an_activation_is_refused():
    class Sigmoids(nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(x) + F.relu6(x)

    with refused("Sigmoids", "no activation module", "F.relu", "nn.ReLU"):
        swap_activations(Sigmoids(), "gelu")
    with refused("Linear", "no activation module", "images of no usual size", "nn.ReLU"):
        swap_activations(nn.Linear(77, 2), "gelu")


class Tokens(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(3, 1, 16, dropout=0, batch_first=True, activation=act)

    def forward(self, x):
        return self.layer(x.flatten(2).mT).mean(1)


def test_torchs_transformer_layer_is_swapped_off_its_fast_path():
    nets = [randomise(Tokens(act)) for act in (F.relu, F.gelu)]
    assert swap_activations(nets[0], "gelu") == 1
    with torch.inference_mode():
        torch.testing.assert_close(*(net(images(8)) for net in nets))


@pytest.mark.parametrize(
    ("build", "sites"),
    [
        (lambda: torchvision.models.densenet121(), 121),
        (lambda: torchvision.models.googlenet(init_weights=False), 61),
        (lambda: timm.create_model("nf_resnet26"), 25),
    ],
    ids=["densenet121", "googlenet", "nf_resnet26"],
)
def test_the_libraries_networks_that_call_functions_are_swapped_whole(build, sites, monkeypatch):
    net = build().eval()
    assert activation_names(net) == ("relu",)
    assert swap_activations(net, "gelu") == sites
    assert activation_names(net) == ("gelu",)
    left = []
    for name in ("relu", "relu_"):
        monkeypatch.setattr(torch, name, lambda x: left.append(x) or x)
    with torch.no_grad():
        net(images(64))
    assert not left
