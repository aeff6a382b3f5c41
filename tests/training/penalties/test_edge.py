"""Penalties that know the edges, against their papers' formulas and analytic cases."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from penalty_cases import EPS, contours, exact_gradients, rms, stub, value

from gradlens.analyzers._edge_concentration import EdgeConcentration
from gradlens.core.registry import edge_map
from gradlens.probes.probe import Probe
from gradlens.training.penalties import choose_penalty


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


def test_sampled_class_changes_with_the_seed(cnn, batch):
    with torch.no_grad():
        cnn.net[-1].weight.mul_(1e-2)
    assert value(cnn, batch, "edge", seed=0) != value(cnn, batch, "edge", seed=1)
