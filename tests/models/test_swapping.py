"""A network whose activation modules were swapped is the one that was built with the others."""

from __future__ import annotations

import functools

import pytest
import timm
import torch
import torchvision
from functional_nets import images, randomise
from refusals import refused
from torch import nn

from gradlens import load_model, swap_activations
from gradlens.models._activations import SmoothReLU, activation_names
from gradlens.models._zoo import digits_cnn

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def plain(act):
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3), act(), nn.Conv2d(8, 8, 3), act()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
    )


BUILT_WITH_BOTH = {
    "timm resnet18": lambda act: timm.create_model("resnet18", act_layer=act),
    "timm convnext": lambda act: timm.create_model("test_convnext", act_layer=act),
    "timm vit": lambda act: timm.create_model("test_vit", act_layer=act),
    "timm norm and act": lambda act: timm.create_model("test_efficientnet", act_layer=act),
    "in place": lambda act: plain(functools.partial(act, inplace=True)),
    "ours": lambda act: digits_cnn(activation=act.__name__.lower()),
}


@pytest.mark.parametrize("name", BUILT_WITH_BOTH)
def test_a_swapped_network_is_the_one_built_with_that_activation(name):
    build = BUILT_WITH_BOTH[name]
    net, built = randomise(build(nn.ReLU)), randomise(build(nn.SiLU))
    before, keys = net(images()), list(net.state_dict())
    assert swap_activations(net, "silu") > 0
    assert list(net.state_dict()) == keys == list(built.state_dict())
    assert torch.equal(net(images()), built(images()))
    assert not torch.allclose(net(images()), before, rtol=1e-3)


@pytest.mark.parametrize(
    ("build", "sites"),
    [(torchvision.models.resnet18, 9), (torchvision.models.mobilenet_v3_small, 33)],
    ids=["resnet18", "mobilenetv3"],
)
def test_torchvisions_networks_are_swapped_with_their_gates_left(build, sites, monkeypatch):
    net = randomise(build())
    gates = sum(isinstance(m, nn.Hardsigmoid) for m in net.modules())
    with monkeypatch.context() as patch:
        for name in ("ReLU", "Hardswish"):
            patch.setattr(nn, name, lambda inplace=False: nn.GELU())
        built = randomise(build())
    for module in built.modules():
        if isinstance(module, torchvision.ops.SqueezeExcitation):
            module.activation = nn.GELU()
    assert swap_activations(net, "gelu") == sites
    assert torch.equal(net(images()), built(images()))
    assert sum(isinstance(m, nn.Hardsigmoid) for m in net.modules()) == gates
    assert activation_names(net) == ("gelu",)


def test_a_module_that_halves_its_channels_is_no_activation_to_swap():
    net = nn.Sequential(nn.Linear(3, 4), nn.GLU(), nn.ReLU())
    assert swap_activations(net, "gelu") == 1
    assert isinstance(net[1], nn.GLU)


def test_swapping_back_is_the_network_it_was():
    net = randomise(digits_cnn(activation="relu"))
    before = net(images(32))
    for to in ("softplus:alpha=10", "smoothrelu", "relu"):
        assert swap_activations(net, to) == 3
        assert activation_names(net) == (to,)
    assert torch.equal(net(images(32)), before)


def test_the_card_of_a_classifier_follows():
    model = load_model("gradlens.models._zoo:digits_cnn", mean=MEAN, std=STD, device="cpu")
    assert swap_activations(model, "softplus:alpha=10") == 3
    assert model.card.activation == "softplus:alpha=10"
    assert "3 activations swapped for softplus:alpha=10" in model.card.notes
    again = load_model(**model.card.options, device="cpu")
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(images(32)), model(images(32)))


class Discarding(nn.Module):
    """Works only because its activation is in place."""

    def __init__(self, inplace=True):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU(inplace)

    def forward(self, x):
        x = self.conv(x)
        self.relu(x)
        return x.mean((2, 3))


def test_an_in_place_module_that_is_called_as_a_statement_is_refused():
    net = nn.Sequential(Discarding())
    with refused("Discarding", "self.relu(x)", "write x = self.relu(x)"):
        swap_activations(net, "gelu")
    assert activation_names(net) == ("relu",)
    assert swap_activations(Discarding(inplace=False), "gelu") == 1


def test_smoothrelu_is_an_activation_that_can_be_swapped():
    assert swap_activations(nn.Sequential(SmoothReLU()), "relu") == 1


@pytest.mark.parametrize(
    ("name", "sites"),
    [("resnet18", 17), ("mobilenetv3_small_050", 33), ("test_convnext", 9), ("test_efficientnet", 11)],
)
def test_swapping_counts_every_activation_of_timms_networks(name, sites):
    net = timm.create_model(name)
    assert swap_activations(net, "softplus") == sites
    names = {type(m).__name__ for m in net.modules()}
    assert "Softplus" in names
    assert not names & {"ReLU", "GELU", "GELUTanh", "SiLU", "Hardswish"}


def test_a_shared_activation_is_swapped_at_each_of_its_places():
    shared = nn.ReLU(inplace=True)
    net = nn.Sequential(nn.Linear(2, 2), shared, nn.Linear(2, 2), shared, nn.Sequential(shared))
    assert swap_activations(net, "gelu") == 3
    assert [type(m).__name__ for m in (net[1], net[3], net[4][0])] == ["GELU"] * 3
    assert net[1] is not net[3]


def test_a_swapped_activation_keeps_the_mode_of_the_one_it_replaces():
    net = digits_cnn().eval()
    swap_activations(net, "relu")
    assert not any(m.training for m in net.modules())


def test_a_network_without_activation_modules_cannot_be_swapped():
    with refused("Linear", "no activation module", "nn.ReLU"):
        swap_activations(nn.Linear(2, 2), "gelu")
