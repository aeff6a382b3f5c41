"""A swap of functions holds in copies, second passes, probes and under torch's own tools, or is refused."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from functional_nets import SITES, Base, Calling, Child, Parent, both, images, randomise
from refusals import refused
from torch import nn
from torch.utils.checkpoint import checkpoint

from gradlens import Batch, Probe, load_model, swap_activations
from gradlens.models import save_checkpoint
from gradlens.models._classifier import fold_batchnorm


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


# Dynamo says where it leaves its graph.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("make", [Calling, Parent])
def test_a_swapped_network_that_is_compiled_falls_back_to_the_same_values(make):
    net = randomise(make())
    swap_activations(net, "gelu")
    if make is Parent:
        swap_activations(net.child, "silu")
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
    assert entry.path.name == "functional_nets.py"


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


MIXED = """
import torch.nn.functional as F
from torch import nn

class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.act = nn.Conv2d(3, 4, 3), nn.GELU()

    def forward(self, x):
        return (F.relu(self.conv(x) - 0.1) + self.act(x[:, :1, 1:-1, 1:-1])).mean((2, 3))
"""


@pytest.mark.parametrize("activation", [None, "gelu", "silu"])
def test_a_checkpoint_opens_with_the_activations_it_was_trained_with(activation, tmp_path):
    (tmp_path / "net.py").write_text(MIXED)
    arch = f"{tmp_path / 'net.py'}:Mixed"
    model = load_model(arch, activation=activation, normalized=True, device="cpu")
    assert model.card.activation == (activation or "gelu+relu")
    described = {"mean": (0.0,) * 3, "std": (1.0,) * 3, "activation": model.card.activation}
    save_checkpoint(tmp_path / "own.pt", model.net.state_dict(), arch=arch, **described)
    again = load_model(tmp_path / "own.pt", arch=arch, device="cpu")
    assert again.card.activation == model.card.activation
    assert torch.equal(again(images(8)), model(images(8)))


def test_what_is_around_a_network_does_not_hide_its_calls():
    net, wanted = both()
    assert swap_activations(nn.DataParallel(net), "gelu") == SITES
    torch.testing.assert_close(net(images(8)), wanted(images(8)), rtol=0, atol=1e-7)
