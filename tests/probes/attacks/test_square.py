"""Square asks for values of the paper's squares, and needs no gradient."""

import torch
from attack_cases import Scripted
from torch import nn

import gradlens as gl
from gradlens.core.registry import attack
from gradlens.probes.probe import Probe


def paper_side(query, queries, area, pixels):
    """Andriushchenko et al. 2020: p is halved at these of 10,000 iterations."""
    position, halvings = 10_000 * query / queries, 0
    for step in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000):
        halvings += position > step
    return max(1, round((area / 2**halvings * pixels) ** 0.5))


def test_square_asks_for_values_of_squares_of_the_papers_sizes():
    image = torch.full((1, 3, 20, 20), 0.5, dtype=torch.float64)

    def noise(shape, draw=0):
        return torch.rand(1, *shape, generator=torch.Generator().manual_seed(draw), dtype=torch.float64)

    weight = torch.randn(3, 20, 20, dtype=torch.float64)
    evaluate = Scripted(lambda x: (weight * x).flatten(1).sum(1))
    found = attack["square"](evaluate, image, noise, eps=0.1, queries=200)
    assert evaluate.gradients == 0
    clean, stripes, *tried = evaluate.asked
    assert torch.equal(clean, image)
    assert len(tried) == 199
    column = stripes[0, :, :1] - 0.5
    torch.testing.assert_close(stripes[0] - 0.5, column.expand(3, 20, 20))
    torch.testing.assert_close(column.abs(), torch.full_like(column, 0.1))
    current, positions = stripes, set()
    for query, candidate in enumerate(tried, 1):
        side = paper_side(query, 200, 0.8, 400)
        changed = (candidate != current)[0].any(0).nonzero()
        delta = candidate - 0.5
        torch.testing.assert_close(delta.abs(), torch.full_like(delta, 0.1))
        if len(changed):
            assert (changed.amax(0) - changed.amin(0) < side).all()
            positions.add(tuple(changed.amin(0).tolist()))
        if evaluate.of(candidate) > evaluate.of(current):
            current = candidate
    assert torch.equal(found, current)
    assert len(positions) > 20


def test_square_comes_near_the_worst_case_of_a_linear_model(two_classes):
    model, batch = two_classes
    weight = model.net[1].weight.detach()
    slope = ((weight[batch.target] - weight[1 - batch.target]).view(6, 3, 8, 8) / model.std).flatten(1)
    probe = Probe(model, batch)
    lost = probe.margin - gl.attack(probe, "square", "-margin", eps=0.05, queries=1500).margin
    assert (lost <= 0.05 * slope.abs().sum(1) + 1e-9).all()
    assert (lost > 0.8 * 0.05 * slope.abs().sum(1)).all()


def test_square_needs_no_gradient(cnn, digits):
    class Rounded(nn.Module):
        def forward(self, image):
            return (cnn(image) * 4).round() / 4

    probe = Probe(Rounded(), digits)
    assert gl.attack(probe, "pgd", "-margin", eps=0.2, random_start=False).correct[probe.correct].all()
    left = gl.attack(probe, "square", "-margin", eps=0.2, queries=100).correct
    assert left.sum() < probe.correct.sum() / 2
