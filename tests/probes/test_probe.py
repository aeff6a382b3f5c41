"""A probe's gradients are exact, of each image alone, the same in every mode, and kept no longer than wanted."""

import copy
import gc
import weakref

import numpy as np
import pytest
import torch
from gradients import random_batch, relative_error, sharpened
from torch import nn

import gradlens as gl
from gradlens.core.registry import objective
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe

OBJECTIVES = list(objective)
each_objective = pytest.mark.parametrize("of", OBJECTIVES)


def exact_loss_gradient(model, batch):
    """In float64, as ``Σ_{k≠y} p_k ∇(f_k − f_y)``, which does not cancel."""
    image = batch.image.double().requires_grad_()
    logits = copy.deepcopy(model).double()(image)
    label = torch.nn.functional.one_hot(batch.target, logits.shape[1]).bool()
    others = logits.detach().softmax(1).masked_fill(label, 0)
    value = (others * (logits - logits[label][:, None])).sum()
    return torch.autograd.grad(value, image)[0]


# --- what a gradient is


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_of_a_linear_model_is_its_weight_row(linear, dtype):
    batch, linear = random_batch(7, 8, 5, dtype=dtype), linear.to(dtype)
    expected = linear.net[1].weight[batch.target].view(7, 3, 8, 8) / linear.std
    torch.testing.assert_close(Probe(linear, batch).gradient("true_logit"), expected.detach(), rtol=1e-7, atol=0)


@each_objective
def test_gradient_is_the_derivative_of_each_images_own_value(cnn, batch, of):
    found, model = Probe(cnn, batch).gradient(of), copy.deepcopy(cnn).double()
    image = batch.image.double()
    exact = Probe(model, Batch(image, batch.target, batch.index)).gradient(of)
    assert relative_error(found, exact).max() < 1e-5
    nudge = 1e-6 * torch.randn_like(image)
    up, down = (Probe(model, Batch(image + s * nudge, batch.target, batch.index)).value(of) for s in (1, -1))
    slope = (exact * nudge).flatten(1).sum(1)
    torch.testing.assert_close((up - down) / 2, slope, rtol=1e-4, atol=1e-12)


def test_loss_gradient_of_confident_images_keeps_float32s_precision(cnn, digits):
    model = sharpened(cnn, 4)
    sure = [i for i, p in enumerate(Probe(model, digits).logits.detach().softmax(1).amax(1)) if p == 1][:32]
    batch = Batch(digits.image[sure], Probe(model, digits).prediction[sure], digits.index[sure])
    assert len(batch) == 32
    # A probability's relative error is the absolute error of its logits, float32's of numbers up to 100 and over.
    unit = torch.finfo(torch.float32).eps * Probe(model, batch).logits.detach().abs().amax()
    error = relative_error(Probe(model, batch).gradient(), exact_loss_gradient(model, batch))
    assert error.max() < 4 * unit < 1e-4
    assert error.median() < 1e-5


def test_loss_gradient_of_random_images_keeps_float32s_precision(cnn):
    batch = random_batch(32)
    assert relative_error(Probe(cnn, batch).gradient(), exact_loss_gradient(cnn, batch)).max() < 1e-5


def test_gradient_that_float32_cannot_hold_stays_in_its_scale(cnn, batch):
    model = sharpened(cnn, 60)
    batch = Batch(batch.image, Probe(model, batch).prediction, batch.index)
    probe = Probe(model, batch)
    lost = (probe.gradient() == 0).flatten(1).all(1)
    assert lost.any()
    direction, scale = probe.scaled_gradient()
    expected = exact_loss_gradient(model, batch)
    assert (scale > 0).all()
    assert torch.equal(expected.flatten(1).any(1), scale > 0)
    # The logits themselves are only known to float32, and probabilities are their exponentials.
    assert relative_error(direction * scale.view(-1, 1, 1, 1), expected).max() < 1e-3


@each_objective
def test_scaled_gradient_is_the_gradient(cnn, batch, of):
    direction, scale = Probe(cnn, batch).scaled_gradient(of)
    assert scale.dtype == torch.float64
    assert relative_error(direction * scale.view(-1, 1, 1, 1), Probe(cnn, batch).gradient(of)).max() < 1e-7


# --- what a look shares


def test_last_awaited_gradient_frees_the_graph(cnn, batch):
    passes = []
    cnn.net[0].register_forward_hook(lambda *_: passes.append(1))
    probe = Probe(cnn, batch, needs=("gradient:loss", "gradient:margin"))
    found = {of: probe.gradient(of) for of in ("margin", "loss", "margin")}
    assert len(passes) == 1
    with pytest.raises(RuntimeError, match="a second time"):
        probe.logits.sum().backward()
    found["true_logit"] = probe.gradient("true_logit")
    assert len(passes) == 2
    for of, gradient in found.items():
        assert torch.equal(gradient, Probe(cnn, batch).gradient(of))


def test_edges_are_those_of_the_images(cnn, batch):
    probe = Probe(cnn, batch)
    assert torch.equal(probe.edges("canny", sigma=2.0), gl.edges.canny(batch.image, sigma=2.0))
    assert torch.equal(probe.edges("canny:sigma=2"), probe.edges("canny", sigma=2.0))
    assert not torch.equal(probe.edges("canny"), probe.edges("canny", sigma=2.0))


def test_look_elsewhere_keeps_its_settings(cnn, batch):
    probe = Probe(cnn, batch, seed=3, needs=("units:5",))
    there = probe.at(batch.image.flip(2))
    fresh = Probe(cnn, Batch(batch.image.flip(2), batch.target, batch.index), seed=3, needs=("units:5",))
    assert torch.equal(there.gradient("sampled_logit"), fresh.gradient("sampled_logit"))
    assert torch.equal(there.units()["5"], fresh.units()["5"])
    assert (there.mode, there.seed) == ("value", 3)


def test_look_elsewhere_keeps_the_outlines_of_the_same_size(cnn):
    shapes = gl.load_data("shapes").batch(range(4))
    probe = Probe(cnn, shapes)
    assert torch.equal(probe.at(shapes.image.flip(1)).batch.outline, shapes.outline)
    assert probe.at(shapes.image[..., :32]).batch.outline is None


def test_gradient_survives_folding(cnn, batch):
    assert relative_error(Probe(cnn.folded(), batch).gradient(), Probe(cnn, batch).gradient()).max() < 1e-5


# --- one image does not know of the others


@each_objective
def test_gradient_does_not_depend_on_order(cnn, batch, of):
    order = torch.randperm(16)
    shuffled = Batch(batch.image[order], batch.target[order], batch.index[order])
    assert relative_error(Probe(cnn, shuffled).gradient(of), Probe(cnn, batch).gradient(of)[order]).max() < 1e-6


@each_objective
def test_gradient_does_not_depend_on_batch_mates(cnn, digits, of):
    one, other = digits[slice(0, 16)], digits[slice(8, 24)]
    assert relative_error(Probe(cnn, other).gradient(of)[:8], Probe(cnn, one).gradient(of)[8:]).max() < 1e-6


def test_gradient_is_there_also_where_gradients_are_off(cnn, batch):
    with torch.no_grad():
        found = Probe(cnn, batch).gradient()
    assert torch.equal(found, Probe(cnn, batch).gradient())


# --- gradients to be differentiated


@pytest.fixture
def smooth():
    """A small float64 classifier of 6 × 6 images with all its derivatives."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(64, 4))
    return gl.load_model(net, mean=(0.5,) * 3, std=(0.25,) * 3, device="cpu").double()


def penalty(model, batch, of):
    return Probe(model, batch, mode="graph").gradient(of).abs().sum()


@each_objective
@pytest.mark.parametrize("mode", ["graph", "leaf"])
def test_every_mode_has_the_same_gradient(cnn, batch, mode, of):
    probe = Probe(cnn, batch, mode=mode)
    assert relative_error(probe.gradient(of).detach(), Probe(cnn, batch).gradient(of)).max() < 1e-5


@pytest.mark.parametrize("of", ["loss", "sampled_logit", "margin", "logsumexp"])
def test_graph_differentiates_a_gradients_norm_by_the_parameters(smooth, of):
    batch = random_batch(5, 6, 4, dtype=torch.float64)
    penalty(smooth, batch, of).backward()
    for parameter in smooth.parameters():
        found = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        flat = parameter.data.view(-1)
        for k in range(0, len(flat), max(1, len(flat) // 6)):
            values = []
            for step in (1e-6, -2e-6):
                flat[k] += step
                values.append(penalty(smooth, batch, of).item())
            flat[k] += 1e-6
            np.testing.assert_allclose(found.view(-1)[k], (values[0] - values[1]) / 2e-6, rtol=1e-5, atol=1e-6)


def test_loss_in_a_graph_reaches_the_parameters(smooth):
    batch = random_batch(5, 6, 4, dtype=torch.float64)
    Probe(smooth, batch, mode="graph").loss.mean().backward()
    found = smooth.net[3].weight.grad.clone()
    smooth.zero_grad()
    nn.functional.cross_entropy(smooth(batch.image), batch.target).backward()
    torch.testing.assert_close(found, smooth.net[3].weight.grad)


def test_leaf_receives_the_direction_of_a_penalty(cnn, batch):
    probe = Probe(cnn, batch, mode="leaf")
    gradient = probe.gradient()
    assert gradient.is_leaf
    assert gradient.requires_grad
    (gradient**2).sum().backward()
    torch.testing.assert_close(gradient.grad, 2 * gradient.detach())
    assert all(p.grad is None for p in cnn.parameters())
    assert probe.gradient() is gradient


# --- what a probe keeps


def saved_bytes(model, image):
    """What torch itself says is saved, by its own hooks."""
    own = {t.untyped_storage().data_ptr() for t in (image, *model.parameters(), *model.buffers())}
    seen = {}

    def pack(tensor):
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        logits = model(image.detach().requires_grad_())
    del logits
    return sum(size for place, size in seen.items() if place not in own)


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_a_probe_says_what_its_graph_keeps(kind, cnn, vit, digits):
    model, image = (cnn, digits.image) if kind == "cnn" else (vit, torch.rand(3, 3, 160, 160))
    probe = gl.probe(model, image, needs=())
    assert probe.held == {"images": image.nbytes}
    _ = probe.logits
    assert probe.held["graph"] == pytest.approx(saved_bytes(copy.deepcopy(model.folded()), image), rel=0.02)
    probe.gradient("loss")
    probe.gradient("margin")
    assert probe.held["gradients"] == 2 * (image.nbytes + 8 * len(image))
    probe.edges("canny")
    assert probe.held["maps"] == len(image) * image.shape[-1] ** 2 * 4
    assert "graph" in repr(probe)


def test_a_with_block_and_free_let_go_of_everything(cnn, batch):
    with gl.Probe(cnn, batch, needs=("units",)) as probe:
        before = probe.gradient().clone()
        probe.edges()
        tensors = (probe.logits, probe.image, probe.units()["2"], probe.scaled_gradient().direction)
        kept = [weakref.ref(t) for t in tensors]
        del tensors
    gc.collect()
    assert [r() for r in kept] == [None] * 4
    assert list(probe.held) == ["images"]
    assert torch.equal(probe.gradient(), before)
    with pytest.raises(KeyError, match="inside"), probe:
        raise KeyError("inside")
    assert list(probe.held) == ["images"]


def test_an_awaited_gradient_is_awaited_again_after_freeing(cnn, batch):
    probe = gl.Probe(cnn, batch, needs=("gradient:loss",))
    first = probe.gradient().clone()
    assert "graph" not in probe.held
    probe.free()
    assert torch.equal(probe.gradient(), first)
    assert "graph" not in probe.held
