"""A swapped network is the one that was built with the other activation."""

from __future__ import annotations

import copy
import functools
import io
import math
import pickle

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from refusals import refused
from scipy.special import erf, expit
from torch import nn
from torch.nn.functional import relu as imported_relu

from gradlens import load_model, swap_activations
from gradlens.models._activation_kinds import ACTIVATIONS, SmoothReLU, kind_of, make_activation
from gradlens.models._activations import activation_names
from gradlens.models._folding import fold_batchnorm
from gradlens.models._zoo import digits_cnn

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
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


# --- the activations themselves


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


# --- modules


def randomise(net):
    """Weights and statistics that are not the trivial ones, the same for every network of these shapes."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            low, high = (0.5, 1.5) if name.endswith(("running_var", "norm.weight")) else (-0.2, 0.2)
            tensor.uniform_(low, high, generator=generator)
    return net.eval()


def images(side=64):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(2))


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


# --- functions


def helper(x):
    return F.relu(x) if x.ndim == 4 else helper(x[None])[0]


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.__secret = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), 2.0

    def forward(self, x):
        return F.relu(self.bn(self.conv(x))) * self.__secret


class Calling(Base):
    """Calls its activation in every way there is, at eleven places."""

    def __init__(self):
        super().__init__()
        self.last, self.held = nn.Conv2d(6, 3, 1), F.relu
        self.relu = nn.Sigmoid()

    def forward(self, x, finally_=F.relu):
        x = super().forward(x) - 0.3
        x = torch.relu(x) - 0.2
        x = x.relu().mul(-2).add(1)
        x.relu_()
        F.relu(x - 1, inplace=True)
        x = x - 0.5
        F.relu(x, inplace=True)
        x = self._method(x) - 0.1
        x = helper(self.last(x))
        x = imported_relu(x - 0.05)
        return self.held(finally_(self.relu(x) - 0.5) - 0.01).mean((2, 3))

    def _method(self, x):
        return torch.nn.functional.leaky_relu(x, 0.1, True)


class Built(Calling):
    """The same with GELU, written by hand."""

    def forward(self, x):
        x = 2.0 * F.gelu(self.bn(self.conv(x))) - 0.3
        x = F.gelu(x) - 0.2
        x = F.gelu(F.gelu(x).mul(-2).add(1))
        x = F.gelu(F.gelu(x - 0.5)) - 0.1
        x = F.gelu(F.gelu(self.last(x)) - 0.05)
        return F.gelu(F.gelu(self.relu(x) - 0.5) - 0.01).mean((2, 3))


SITES = 11


def both():
    return randomise(Calling()), randomise(Built())


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


class Child(nn.Module):
    def forward(self, x):
        return F.relu6(x + 3) / 6 + F.relu(x)


class Parent(nn.Module):
    def __init__(self):
        super().__init__()
        self.child = Child()

    def forward(self, x):
        return F.relu(self.child(x))


def test_each_module_keeps_what_was_swapped_into_it():
    net = Parent()
    x = torch.randn(50)
    assert swap_activations(net, "gelu") == 2
    assert swap_activations(net.child, "silu") == 1
    assert torch.equal(net(x), F.gelu(F.relu6(x + 3) / 6 + F.silu(x)))
    assert activation_names(net) == ("gelu", "silu")


def copied_by_torch(net):
    stream = io.BytesIO()
    torch.save(net, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net)), copied_by_torch],
    ids=["deepcopy", "pickle", "torch.save"],
)
def test_a_swapped_network_can_be_copied_and_pickled(copied):
    net, _ = both()
    swap_activations(net, "gelu")
    twin = copied(net)
    assert torch.equal(twin(images(8)), net(images(8)))
    twin.conv.weight.data.zero_()
    assert not torch.equal(twin(images(8)), net(images(8)))
    assert swap_activations(twin, "silu") == SITES


def test_a_swapped_network_can_be_differentiated_twice():
    net, built = both()
    swap_activations(net, "gelu")
    found = []
    for model in (net.double(), built.double()):
        image = images(8).double().requires_grad_()
        (gradient,) = torch.autograd.grad(model(image)[:, 0].sum(), image, create_graph=True)
        found.append(torch.autograd.grad(gradient.abs().sum(), model.conv.weight)[0])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_a_swapped_network_can_be_folded_and_compiled():
    net = randomise(Base())
    before = net(images(8))
    swap_activations(net, "gelu")
    assert not torch.allclose(net(images(8)), before)
    folded = copy.deepcopy(net)
    assert fold_batchnorm(folded) == 1
    torch.testing.assert_close(folded(images(8)), net(images(8)))
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images(8)), net(images(8)))


def test_a_swapped_network_shows_the_user_his_own_lines():
    net, _ = both()
    swap_activations(net, "gelu")
    with pytest.raises(RuntimeError) as caught:
        net(torch.rand(2, 4, 8, 8))
    entry = next(e for e in caught.traceback if "super().forward" in str(e.statement))
    assert entry.path.name == "test_activations.py"


def decorated(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


class Decorated(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()

    @decorated
    def forward(self, x):
        return F.relu(self.act(x))


def test_a_function_under_a_decorator_is_refused_before_anything_is_swapped():
    net = nn.Sequential(nn.ReLU(), Parent(), Decorated())
    with refused("Decorated.forward", "decorator", "nn.ReLU"):
        swap_activations(net, "gelu")
    assert activation_names(net) == ("relu",)
    assert type(net[1]) is Parent


def test_a_network_without_an_activation_is_refused():
    class Sigmoids(nn.Module):
        def forward(self, x):
            return x * torch.sigmoid(x) + F.relu6(x)

    with refused("Sigmoids", "no activation module", "F.relu", "nn.ReLU"):
        swap_activations(Sigmoids(), "gelu")


def test_torchs_transformer_layer_is_swapped_off_its_fast_path():
    torch.manual_seed(0)
    layers = [nn.TransformerEncoderLayer(8, 2, 16, dropout=0, batch_first=True, activation=a) for a in (F.relu, F.gelu)]
    layers[1].load_state_dict(layers[0].state_dict())
    assert swap_activations(layers[0], "gelu") == 1
    x = torch.randn(2, 3, 8)
    with torch.inference_mode():
        torch.testing.assert_close(*(layer.eval()(x) for layer in layers))


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


def test_smoothrelu_is_an_activation_that_can_be_swapped():
    assert swap_activations(nn.Sequential(SmoothReLU()), "relu") == 1
