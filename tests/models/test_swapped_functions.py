"""Activations that a forward calls as functions are swapped while it runs, as if it were written with the others."""

from __future__ import annotations

import copy
import functools
import io
import pickle

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from randomised import images, randomise
from refusals import refused
from torch import nn
from torch.nn.functional import relu as imported_relu
from torch.utils.checkpoint import checkpoint

from gradlens import Batch, Probe, load_model, swap_activations
from gradlens.models._activations import activation_names
from gradlens.models._classifier import fold_batchnorm


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


def test_a_swapped_network_can_be_folded():
    net = randomise(Base())
    before = net(images(8))
    swap_activations(net, "gelu")
    assert not torch.allclose(net(images(8)), before)
    folded = copy.deepcopy(net)
    assert fold_batchnorm(folded) == 1
    torch.testing.assert_close(folded(images(8)), net(images(8)))


@pytest.mark.filterwarnings("ignore:Dynamo does not know:UserWarning")
def test_a_swapped_network_that_is_compiled_falls_back_to_the_same_values():
    net, _ = both()
    swap_activations(net, "gelu")
    torch.testing.assert_close(torch.compile(net, backend="eager")(images(8)), net(images(8)))


@pytest.mark.parametrize("mode", ["value", "graph", "leaf"])
def test_every_mode_of_a_probe_looks_at_the_swapped_network(mode):
    net, built = both()
    model, wanted = (load_model(n, normalized=True, device="cpu") for n in (net, built))
    assert swap_activations(model, "gelu") == SITES
    assert model.card.activation == "gelu"
    assert model.card.notes == (f"{SITES} activations swapped for gelu",)
    batch = Batch(images(8), torch.tensor([0, 2]), torch.arange(2))
    for found in ("logits", "loss"):
        torch.testing.assert_close(*(getattr(Probe(m, batch, mode), found) for m in (model, wanted)))
    torch.testing.assert_close(*(Probe(m, batch, mode).gradient() for m in (model, wanted)))


def test_a_swapped_network_shows_the_user_his_own_lines():
    net, _ = both()
    swap_activations(net, "gelu")
    with pytest.raises(RuntimeError) as caught:
        net(torch.rand(2, 4, 8, 8))
    entry = next(e for e in caught.traceback if "super().forward" in str(e.statement))
    assert entry.path.name == "test_swapped_functions.py"


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


class Recomputing(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.conv, self.reentrant = nn.Conv2d(3, 4, 3), reentrant

    def part(self, x):
        return F.relu(self.conv(x))

    def forward(self, x):
        return checkpoint(self.part, x, use_reentrant=self.reentrant).mean((2, 3))


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_inside_would_lose_the_swap_and_is_refused(reentrant):
    net = Recomputing(reentrant)
    assert swap_activations(net, "gelu") == 1
    with refused("relu", "activation checkpointing", "set_grad_checkpointing(False)"):
        net(images(8).requires_grad_())


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_of_the_whole_has_the_swap_in_its_second_pass(reentrant):
    found = []
    for within in (lambda net, x: checkpoint(net, x, use_reentrant=reentrant), lambda net, x: net(x)):
        net, x = randomise(Base()), images(8).requires_grad_()
        swap_activations(net, "gelu")
        within(net, x).square().sum().backward()
        found.append(x.grad)
    torch.testing.assert_close(*found)


@pytest.mark.filterwarnings("ignore:.*torch.jit.* is deprecated")
def test_torchscript_is_refused_by_name():
    net = nn.Sequential(nn.ReLU(), torch.jit.script(Child()))
    with refused("TorchScript (Child)", "network it was made from"):
        swap_activations(net, "gelu")
    assert isinstance(net[0], nn.ReLU)


def test_a_refusal_leaves_an_earlier_swap_as_it_was():
    net, x = Parent(), torch.randn(2, 3, 32, 32)
    swap_activations(net, "silu")
    wanted = net(x)
    net.register_module("inner", Discarding())
    net.child.forward = lambda x: net.inner(x)
    with refused("Discarding"):
        swap_activations(net, "gelu")
    net.child.__dict__.pop("forward")
    assert torch.equal(net(x), wanted)


class Discarding(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        x = x + 0
        self.act(x)
        return x


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
