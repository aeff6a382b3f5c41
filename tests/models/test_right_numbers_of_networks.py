"""The right number on networks that are handed over, whatever they are made of and whatever is switched on around."""

from __future__ import annotations

import contextlib
import copy
import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from refusals import refused
from torch import nn
from torch.utils.checkpoint import checkpoint

import gradlens as gl

WAYS = ("analyze", "input_gradient", "probe")


class Net(nn.Module):
    """Convolutions with BatchNorm and dropout, so that another mode or another type gives another number."""

    def __init__(self, channels=3, kind="plain"):
        super().__init__()
        self.kind, self.drop = kind, nn.Dropout(0.5)
        self.conv, self.bn, self.fc = nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Linear(6, 4)
        self.bn.running_mean.normal_()
        self.bn.running_var.uniform_(0.2, 3)

    def inside(self, x):
        return self.drop(F.gelu(self.bn(self.conv(x))))

    def forward(self, x):
        ends = {
            "no_grad": lambda: torch.no_grad()(self.inside)(x),
            "detach": lambda: self.inside(x.detach()),
            "numpy": lambda: self.inside(torch.from_numpy(x.detach().numpy())),
            "batch mean": lambda: self.inside(x) + 1e-4 * x.mean(),
            **{k: lambda: checkpoint(self.inside, x, use_reentrant=self.kind == "reentrant") for k in CHECKPOINTED},
        }
        return self.fc(ends.get(self.kind, lambda: self.inside(x))().mean((2, 3)))


CHECKPOINTED = ("reentrant", "not reentrant")


def network(channels=3, kind="plain"):
    torch.manual_seed(1)
    return Net(channels, kind).eval()


def images(channels=3, side=12):
    return torch.rand(4, channels, side, side, generator=torch.Generator().manual_seed(3)), torch.arange(4)


def plain_l1(net, x, y):
    """‖∇ cross-entropy‖₁ by autograd alone, an image at a time."""
    found = []
    for k in range(len(x)):
        pixels = x[k : k + 1].clone().requires_grad_()
        F.cross_entropy(net(pixels), y[k : k + 1]).backward()
        found.append(float(pixels.grad.abs().sum()))
    return np.array(found)


def l1_of(way, model, x, y):
    if way == "analyze":
        data = gl.load_data((x, y.numpy()))
        return gl.analyze(model, data, ["sample_asymmetry"], progress=False, examples=0).samples["l1"].to_numpy()
    gradient = gl.input_gradient(model, x, y) if way == "input_gradient" else gl.probe(model, x, y).gradient()
    return gradient.double().abs().sum((1, 2, 3)).numpy()


def under_inference(net):
    with torch.inference_mode():
        return network()


MADE = {
    **{kind: functools.partial(lambda net, kind: network(kind=kind), kind=kind) for kind in CHECKPOINTED},
    "float64": lambda net: copy.deepcopy(net).double(),
    "half": lambda net: net.half(),
    "bfloat16": lambda net: net.bfloat16(),
    "made under inference_mode": under_inference,
    "traced": lambda net: torch.jit.trace(net, images()[0]),
    "scripted": lambda net: torch.jit.script(_sequence()),
    "frozen": lambda net: torch.jit.freeze(torch.jit.script(_sequence())),
    "fx": lambda net: torch.fx.symbolic_trace(_sequence()),
    "compiled": lambda net: torch.compile(net, backend="eager"),
}


def _sequence():
    net = network()
    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten(), net.fc
    return nn.Sequential(net.conv, net.bn, nn.GELU(), *pooled).eval()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", MADE)
def test_whatever_it_is_made_of_the_number_is_the_plain_frameworks(kind, way):
    x, y = images()
    made, twin = MADE[kind](network()), network()
    if kind in ("half", "bfloat16"):
        twin.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in made.state_dict().items()})
    model = gl.load_model(made, normalized=True, device="cpu")
    np.testing.assert_allclose(l1_of(way, model, x, y), plain_l1(twin, x, y), rtol=1e-5)
    assert not any(p.grad is not None for p in made.parameters())
    if kind in ("half", "bfloat16"):
        assert "float32 copy" in " ".join(model.card.notes)
        assert made.conv.weight.dtype != torch.float32


def _on_meta():
    with torch.device("meta"):
        return nn.Sequential(nn.Conv2d(3, 4, 3))


REFUSED = {
    "meta": (_on_meta, ["meta device", "load_state_dict"]),
    "lazy": (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), ["lazy", "run it once"]),
    "int8": (
        lambda: torch.ao.quantization.quantize_dynamic(_sequence(), {nn.Linear}),
        ["quantised (Linear)", "floating-point"],
    ),
    **{kind: (functools.partial(network, kind=kind), ["cut off"]) for kind in ("no_grad", "detach", "numpy")},
    "batch mean": (functools.partial(network, kind="batch mean"), ["other images of its batch"]),
    "another number of channels": (lambda: network(5), ["cannot take images", "(3, 12, 12)"]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", REFUSED)
def test_what_gives_no_gradient_is_one_line(kind, way):
    make, said = REFUSED[kind]
    with refused(*said):
        l1_of(way, gl.load_model(make(), normalized=True, device="cpu"), *images())


@contextlib.contextmanager
def default_type(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield
    torch.set_default_dtype(before)


AROUND = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "bfloat16 by default": lambda: default_type(torch.bfloat16),
    "float64 by default": lambda: default_type(torch.float64),
    "meta by default": lambda: torch.device("meta"),
}


@pytest.mark.parametrize("kept", [False, True], ids=["opened inside", "opened before"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("around", AROUND)
def test_what_is_switched_on_around_a_call_changes_nothing(around, way, kept):
    (x, y), how = images(), {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4), "device": "cpu"}
    net = network()
    expected = l1_of(way, gl.load_model(net, **how), x, y)
    model = gl.load_model(net, **how) if kept else None
    with AROUND[around]():
        gradient = None
        model = model or gl.load_model(net, **how)
        if way != "analyze":
            gradient = gl.input_gradient(model, x, y) if way == "input_gradient" else gl.probe(model, x, y).gradient()
        else:
            found = l1_of(way, model, x, y)
    found = found if gradient is None else gradient.double().abs().sum((1, 2, 3)).numpy()
    np.testing.assert_array_equal(found, expected)


CHANGES = {
    "a weight": lambda net: net.conv.weight.data.mul_(1.001),
    "statistics": lambda net: net.bn.running_var.mul_(1.001),
    "a head": lambda net: net.fc.weight.data.mul_(1.001),
    "a state": lambda net: net.load_state_dict({k: v * 0.9 for k, v in net.state_dict().items()}),
    "a hook": lambda net: net.conv.register_forward_hook(lambda m, i, o: o.clamp(max=0.3)),
    "a forward": lambda net: setattr(net.conv, "forward", lambda x: F.conv2d(x, 2 * net.conv.weight, padding=1)),
    "a setting": lambda net: setattr(net.bn, "eps", 0.1),
    "a layer": lambda net: setattr(net, "bn", nn.BatchNorm2d(6).eval()),
}


@pytest.mark.parametrize("way", ["input_gradient", "probe"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_between_two_calls_is_noticed(change, way):
    (x, y), net = images(), network()
    model = gl.load_model(net, normalized=True, device="cpu")
    before = l1_of(way, model, x, y)
    CHANGES[change](net)
    after = plain_l1(net, x, y)
    assert abs(after / before - 1).max() > 1e-5
    np.testing.assert_allclose(l1_of(way, model, x, y), after, rtol=1e-5)


def test_the_copy_is_folded_and_made_once(monkeypatch):
    (x, y), model = images(), gl.load_model(network(), normalized=True, device="cpu")
    made = []
    folded = type(model).folded
    monkeypatch.setattr(type(model), "folded", lambda self: made.append(folded(self)) or made[-1])
    for _ in range(3):
        gl.input_gradient(model, x, y)
        assert gl.probe(model, x, y).network is made[0]
    assert [copied.card.folded for copied in made] == [1]


@pytest.mark.parametrize("channels", [1, 4, 6])
@pytest.mark.parametrize("side", [1, 2, 3, 12])
def test_any_channels_and_any_size_as_arrays(channels, side):
    (x, y), net = images(channels, side), network(channels)
    model = gl.load_model(net, normalized=True, device="cpu")
    run = gl.analyze(model, gl.load_data((x, y.numpy())), progress=False)
    np.testing.assert_allclose(run.samples["l1"], plain_l1(net, x, y), rtol=1e-5)
    assert ("gray" if channels == 1 else f"{channels} channels") in run.provenance["missing"]["share_r_mean"]


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("stated", [{"normalized": True}, {"mean": (0.13,), "std": (0.31,)}], ids=["inside", "stated"])
def test_a_gray_network_reads_pictures_in_gray(tmp_path, mode, stated):
    rng, net = np.random.default_rng(0), network(1)
    shape = (20, 20) if mode == "L" else (20, 20, 3)
    for label in "abcd":
        (tmp_path / label).mkdir()
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(tmp_path / label / "0.png")
    model = gl.load_model(net, device="cpu", **stated)
    data = gl.load_data(tmp_path).bind(gl.Preprocess(20, 1.0))
    run = gl.analyze(model, data, ["sample_asymmetry"], progress=False)
    gray = [np.asarray(Image.open(tmp_path / label / "0.png").convert("L")) for label in "abcd"]
    x = torch.from_numpy(np.stack(gray)[:, None] / 255).float()
    mean, std = (stated.get(key, (value,))[0] for key, value in (("mean", 0.0), ("std", 1.0)))
    expected = plain_l1(lambda pixels: net((pixels - mean) / std), x, torch.arange(4))
    np.testing.assert_allclose(run.samples["l1"], expected, rtol=1e-5)
    pictures = [tmp_path / label / "0.png" for label in "abcd"]
    np.testing.assert_allclose(l1_of("input_gradient", model, pictures, torch.arange(4)), expected, rtol=1e-5)


def test_channels_that_do_not_fit_are_one_line(tmp_path):
    x, y = images(1)
    colour = gl.load_model(network(), mean=(0.5,) * 3, std=(0.5,) * 3, device="cpu")
    with refused("(4, 1, 12, 12)", "normalises 3 channels", "expand"):
        gl.input_gradient(colour, x, y)
    (tmp_path / "a").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / "0.png")
    four = gl.load_model(network(4), normalized=True, device="cpu")
    with refused("4 channels", "arrays"):
        gl.analyze(four, tmp_path, ["sample_asymmetry"], progress=False)
