"""Penalties against their papers' formulas, and laws that hold for every one in the registry."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from torch import nn

import gradlens as gl
from gradlens.analyzers._edge_concentration import EdgeConcentration
from gradlens.analyzers._sample_asymmetry import SampleAsymmetry
from gradlens.core.registry import edge_map, load_plugin, penalty
from gradlens.core.seeds import image_uniform
from gradlens.core.types import Batch, UserError
from gradlens.probes.probe import Probe
from gradlens.training.penalties import RAMP, Ramp, choose_penalty

EPS = 4 / 255
VARIANTS = (
    *("gradnorm:norm=l2", "gradnorm:norm=l1", "gradnorm_hinge:threshold=.2", "marginal_density:norm=l2"),
    *("edge:form=saliency", "edge:objective=loss", "edge:batchwise=false", "edge:target=sobel"),
    *("edge:form=saliency,batchwise=false,target=canny:sigma=1.5", "off_edge:target=contour_energy"),
)
SPECS = [*penalty, *VARIANTS]
each_penalty = pytest.mark.parametrize("spec", SPECS)


def value(model, batch, spec, mode="graph", seed=0):
    return choose_penalty(spec)(Probe(model, batch, mode, seed)).detach()


def rows(batch, index):
    return Batch(batch.image[index], batch.target[index], batch.index[index])


def exact_gradients(model, batch, objective):
    """``(B, C, H, W)`` in float64, image by image, from torch's own functions."""
    model, found = model.double(), []
    for image, label, index in zip(batch.image.double(), batch.target, batch.index, strict=True):
        image = image[None].requires_grad_()
        logits = model(image)
        if objective == "loss":
            of = F.cross_entropy(logits, label[None])
        elif objective == "logsumexp":
            of = logits.exp().sum().log()
        else:
            draw = image_uniform(0, index[None], "sampled_logit").item()
            cumulative = np.cumsum((logits[0] / 0.5).softmax(0).detach().numpy())
            of = logits[0, np.searchsorted(cumulative, draw, side="right")]
        found.append(torch.autograd.grad(of, image)[0][0].numpy())
    return np.stack(found)


def contours(batch, channels):
    energy = [reference.contour_energy(image)[None].repeat(channels, 0) for image in batch.image.double().numpy()]
    return np.stack(energy)


def rms(values):
    return np.sqrt(np.mean(np.square(values)))


def stub(gradient, edges=None):
    """A probe that answers with a given gradient and edge map."""
    return SimpleNamespace(gradient=lambda of="loss": gradient, edges=lambda name: edges)


# --- laws of every penalty


@each_penalty
def test_penalty_is_one_number_an_image_or_one_of_the_batch(cnn, batch, spec):
    found = value(cnn, batch, spec)
    assert found.shape in ((), (16,))
    assert found.isfinite().all()
    assert (found >= 0).all()
    assert found.any()


@each_penalty
def test_penalty_is_the_same_number_in_every_mode(cnn, batch, spec):
    measured = value(cnn, batch, spec, "value")
    for mode in ("graph", "leaf"):
        torch.testing.assert_close(value(cnn, batch, spec, mode), measured, rtol=1e-5, atol=1e-7)


@each_penalty
def test_penalty_of_an_image_does_not_depend_on_the_others(cnn, batch, spec):
    together = value(cnn, batch, spec)
    if together.ndim == 0:
        assert (value(cnn, batch[slice(0, 8)], spec) - together).abs() > 1e-4
        return
    order = torch.randperm(16)
    torch.testing.assert_close(value(cnn, rows(batch, order), spec), together[order], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(value(cnn, batch[slice(3, 7)], spec), together[3:7], rtol=1e-5, atol=1e-7)


class Weights(nn.Module):
    """A small smooth network of 6 × 6 images whose weights are plain tensors."""

    def __init__(self, kernel, bias, head):
        super().__init__()
        self.kernel, self.bias, self.head = kernel, bias, head

    def forward(self, image):
        return F.gelu(F.conv2d(image - 0.5, self.kernel, self.bias)).flatten(1) @ self.head


@pytest.fixture
def tiny():
    """Images with edges, and weights, in float64."""
    image = torch.rand(2, 3, 6, 6, dtype=torch.float64) * 0.2
    image[..., 3:] += 0.7
    weights = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 3, 4, 4), (2,), (18, 3))]
    return Batch(image, torch.tensor([0, 2]), torch.arange(2)), weights


@each_penalty
def test_penalty_can_be_differentiated_twice_by_the_parameters(tiny, spec):
    batch, weights = tiny

    def of(*weights):
        return choose_penalty(spec)(Probe(Weights(*weights), batch, "graph"))

    assert torch.autograd.gradcheck(of, weights, fast_mode=True)
    assert torch.autograd.gradgradcheck(of, weights, fast_mode=True)


@pytest.mark.parametrize("name", penalty)
def test_no_penalty_takes_a_name_that_belongs_to_its_weight(name):
    assert not set(RAMP) & set(inspect.signature(penalty[name]).parameters)


# --- the papers' formulas, slowly


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


@pytest.mark.parametrize("objective", ["sampled_logit", "loss"])
@pytest.mark.parametrize("form", ["signed", "saliency"])
def test_edge_is_the_papers(cnn, batch, objective, form):
    """``mean((G/rms − E/rms)²)`` over the whole batch, and of each image by itself."""
    spec = f"edge:objective={objective},form={form}"
    found, alone = value(cnn, batch, spec), value(cnn, batch, f"{spec},batchwise=false")
    g = exact_gradients(cnn, batch, objective)
    if form == "saliency":
        g = np.abs(g).max(1, keepdims=True)
    e = contours(batch, g.shape[1])
    expected = np.mean(np.square(g / rms(g) - e / rms(e)))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(found, 2 - 2 * (g * e).sum() / np.sqrt((g**2).sum() * (e**2).sum()), rtol=1e-5)
    one_by_one = [np.mean(np.square(a / rms(a) - b / rms(b))) for a, b in zip(g, e, strict=True)]
    np.testing.assert_allclose(alone, one_by_one, rtol=1e-4)


def test_off_edge_weighs_by_what_is_no_edge(cnn, batch):
    found = value(cnn, batch, "off_edge:target=contour_energy,eps=.1")
    g, e = exact_gradients(cnn, batch, "loss"), contours(batch, 1)
    weight = 1 - e / e.max((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(found, 0.1 * (weight * np.abs(g)).sum((1, 2, 3)), rtol=1e-4)


# --- what is trained against is what is measured


def test_gradient_norms_are_the_analyzers(cnn, batch):
    for spec, objective, column in (
        ("gradnorm:eps=1", "loss", "l1"),
        ("gradnorm:eps=1,norm=l2", "loss", "l2"),
        ("gradnorm:eps=1,norm=l1", "loss", "linf"),
        ("marginal_density:eps=1", "logsumexp", "l1"),
    ):
        measured = SampleAsymmetry(objective).measure(Probe(cnn, batch))[column]
        torch.testing.assert_close(value(cnn, batch, spec).double(), measured, rtol=1e-5, atol=1e-9)


def test_edge_penalties_are_the_analyzers(cnn, digits):
    batch, others = digits[slice(0, 16)], digits[slice(16, 64)]
    measured = {}
    for objective in ("sampled_logit", "loss"):
        analyzer = EdgeConcentration(objective, min_edge_pixels=1)
        analyzer.fit(Probe(cnn, others))
        measured[objective] = analyzer.measure(Probe(cnn, batch))
    cosine = measured["sampled_logit"]["edge_cosine_signed_contour"]
    torch.testing.assert_close(value(cnn, batch, "edge:batchwise=false").double(), 2 - 2 * cosine, rtol=1e-4, atol=1e-5)
    share = measured["loss"]["edge_mass_canny"]
    area = Probe(cnn, batch).edges("canny").mean((1, 2, 3))
    expected = value(cnn, batch, "gradnorm") * (1 - area) * (1 - share)
    torch.testing.assert_close(value(cnn, batch, "off_edge"), expected.float(), rtol=1e-4, atol=1e-6)


# --- analytic cases


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


@pytest.mark.parametrize("batchwise", ["true", "false"])
def test_edge_is_zero_on_edges_two_across_them_and_four_against_them(batchwise):
    edges = torch.rand(3, 1, 8, 8)
    of = choose_penalty(f"edge:batchwise={batchwise}")
    signed = edges.expand(3, 3, 8, 8)
    across = torch.cat([edges, -edges, torch.zeros_like(edges)], 1)
    for gradient, expected in ((signed, 0.0), (7 * signed, 0.0), (across, 2.0), (-signed, 4.0)):
        found = of(stub(gradient, edges))
        torch.testing.assert_close(found, torch.full_like(found, expected), rtol=0, atol=1e-5)


def test_image_without_gradient_or_edges_counts_as_orthogonal():
    gradient, edges = torch.randn(3, 3, 8, 8), torch.rand(3, 1, 8, 8)
    gradient[0], edges[1] = 0, 0
    gradient.requires_grad_()
    found = choose_penalty("edge:batchwise=false")(stub(gradient, edges))
    assert found[:2].tolist() == [2, 2]
    found.sum().backward()
    assert gradient.grad.isfinite().all()


def test_saliency_does_not_see_the_sign():
    edges = torch.rand(2, 1, 8, 8)
    of = choose_penalty("edge:form=saliency")
    gradient = torch.cat([0.1 * edges, -edges, 0.5 * edges], 1)
    torch.testing.assert_close(of(stub(gradient, edges)), torch.tensor(0.0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("target", edge_map)
def test_any_edge_map_can_be_the_target(cnn, batch, target):
    probe = Probe(cnn, batch)
    found = choose_penalty(f"edge:target={target},batchwise=false")(probe)
    g, e = probe.gradient("sampled_logit").flatten(1), probe.edges(target).expand(-1, 3, -1, -1).flatten(1)
    torch.testing.assert_close(found, 2 - 2 * F.cosine_similarity(g, e), rtol=1e-4, atol=1e-5)


def test_off_edge_lies_between_nothing_and_gradnorm():
    gradient = torch.randn(3, 3, 8, 8)
    edges = torch.zeros(3, 1, 8, 8)
    edges[1, :, 2] = edges[2] = 1
    found = choose_penalty("off_edge")(stub(gradient, edges))
    whole = choose_penalty("gradnorm")(stub(gradient))
    torch.testing.assert_close(found[0], whole[0])
    torch.testing.assert_close(found[1], whole[1] - EPS * gradient[1, :, 2].abs().sum())
    assert found[2] == 0


def test_channel_weights_of_one_are_gradnorm():
    gradient = torch.randn(3, 3, 8, 8)
    found = choose_penalty("gradnorm_channel:green=1")(stub(gradient))
    torch.testing.assert_close(found, choose_penalty("gradnorm")(stub(gradient)))


def test_sampled_class_changes_with_the_seed(cnn, batch):
    with torch.no_grad():
        cnn.net[-1].weight.mul_(1e-2)
    assert value(cnn, batch, "edge", seed=0) != value(cnn, batch, "edge", seed=1)


# --- weights and specs


def test_weights_grow_as_the_papers_do():
    gradnorm, edge = choose_penalty("gradnorm:alpha=0,step=.24,cap=1.2"), choose_penalty("edge:alpha=1,step=.09,cap=19")
    for epoch in (0, 0.3, 1.5, 4.9, 5, 50, 100):
        assert gradnorm.ramp.at(epoch) == pytest.approx(1.2 * max(0, min(0.0 + epoch * 0.2, 1.0)))
        assert edge.ramp.at(epoch) == pytest.approx(min(1.0 + 0.09 * epoch, 19.0))
    assert edge.ramp.at(100) == pytest.approx(10)


def test_weight_without_a_ramp_stays():
    assert {choose_penalty("gradnorm:alpha=.3").ramp.at(epoch) for epoch in (0, 1.5, 300)} == {0.3}
    assert choose_penalty("gradnorm").ramp.at(7) == 1


def test_falling_weight_stops_at_zero():
    assert [Ramp(1, -0.5).at(epoch) for epoch in (0, 1, 2, 3)] == [1, 0.5, 0, 0]


def test_spec_says_all_that_is_recorded():
    chosen = choose_penalty("edge:target=canny:sigma=2,alpha=1,step=.09,cap=10,batchwise=false")
    ramp = {"alpha": 1.0, "step": 0.09, "cap": 10.0}
    own = {"target": "canny:sigma=2", "objective": "sampled_logit", "form": "signed", "batchwise": False}
    assert chosen.provenance() == {"name": "edge", **own, **ramp}
    assert (choose_penalty("gradnorm:eps=8/255").eps, chosen.eps) == (8 / 255, EPS)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("edg", "unknown penalty 'edg'; did you mean edge"),
        ("edge:stp=1", "parameter of penalty 'edge' 'stp'; did you mean step"),
        ("gradnorm:threshold=1", "there are: alpha, cap, eps, norm, step"),
        ("gradnorm:eps=much", "eps=much is not a float"),
        ("edge:step=much", "weight of penalty 'edge': step=much is not a float"),
        ("edge:alpha=5,cap=1", r"alpha=5, grows by step=0 an epoch and ends at cap=1; wanted 0 ≤ alpha ≤ cap"),
        ("edge:alpha=-1", "wanted 0 ≤ alpha"),
    ],
)
def test_wrong_spec_is_refused(spec, message):
    with pytest.raises(UserError, match=message):
        choose_penalty(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gradnorm:norm=linv", "unknown norm of an attack 'linv'; did you mean linf"),
        ("gradnorm:eps=4", "eps is 4; wanted an attack's radius in pixels of .0, 1., such as 4/255"),
        ("gradnorm_channel:eps=0", "eps is 0"),
        ("off_edge:eps=-1", "eps is -1"),
        ("edge:form=sign", "unknown form 'sign' of edge; there are: signed, saliency"),
        ("edge:target=cany", "unknown edge map 'cany'; did you mean canny"),
        ("edge:objective=los", "unknown objective 'los'"),
    ],
)
def test_wrong_parameter_is_refused(cnn, batch, spec, message):
    with pytest.raises(UserError, match=message):
        value(cnn, batch, spec)


def test_channel_weights_need_channels():
    with pytest.raises(UserError, match="the images have 1 channels; use gradnorm"):
        choose_penalty("gradnorm_channel")(stub(torch.randn(2, 1, 4, 4)))


def test_one_small_file_adds_a_penalty(tmp_path, cnn, batch):
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from gradlens.core.registry import penalty\n\n"
        "@penalty\ndef energy(probe, power: float = 2.0):\n"
        "    return (probe.gradient('margin').abs() ** power).sum((1, 2, 3))\n\n"
        "@penalty\n@dataclass\nclass Steepness:\n"
        "    factor: float = 1.0\n    needs = ('units',)\n\n"
        "    def __call__(self, probe):\n        return self.factor * probe.gradient().flatten(1).norm(dim=1)\n"
    )
    load_plugin(str(tmp_path / "mine.py"))
    try:
        g = gl.input_gradient(cnn, batch.image, batch.target, objective="margin")
        found = value(cnn, batch, "energy:power=3,alpha=.5")
        torch.testing.assert_close(found, g.abs().pow(3).sum((1, 2, 3)), rtol=1e-4, atol=1e-6)
        steep = choose_penalty("steepness:factor=2,step=1")
        expected = 2 * value(cnn, batch, "gradnorm:norm=l2,eps=1")
        torch.testing.assert_close(steep(Probe(cnn, batch)), expected, rtol=1e-5, atol=1e-7)
        assert steep.needs == ("units",)
    finally:
        del penalty._methods["energy"], penalty._methods["steepness"]
