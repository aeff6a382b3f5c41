"""PGD and its single step FGSM are their papers', within their ball."""

import pytest
import torch
from attack_cases import Scripted, each_norm, size, still
from torch import nn

import gradlens as gl
from gradlens.core.registry import attack
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe

# Such that a test need not wait, and that chance plays its part.
LAWFUL = {"fgsm": {"random_start": True}, "square": {"queries": 60}}


def attacked(name, probe, objective="loss", **parameters):
    return gl.attack(probe, name, objective, **{**LAWFUL.get(name, {}), **parameters})


@each_norm
@pytest.mark.parametrize("random_start", [True, False])
def test_pgd_stays_in_its_ball(cnn, batch, norm, eps, random_start):
    image = gl.attack(Probe(cnn, batch), "pgd", norm=norm, eps=eps, random_start=random_start).batch.image
    distance = size(image - batch.image, norm)
    assert distance.max() <= eps + 1e-6
    assert distance.max() > 0.9 * eps


@each_norm
def test_pgd_does_not_stretch_a_short_step(cnn, batch, norm, eps):
    room = {"norm": norm, "eps": eps, "steps": 1, "step_size": eps / 10, "random_start": False}
    image = gl.attack(Probe(cnn, batch), "pgd", **room).batch.image
    assert size(image - batch.image, norm).max() <= eps / 10 + 1e-6


def test_radius_in_l2_may_exceed_one(cnn, batch):
    image = gl.attack(Probe(cnn, batch), "pgd", norm="l2", eps=3.0).batch.image
    assert 2 < size(image - batch.image, "l2").max() <= 3 + 1e-6


@each_norm
def test_pgd_raises_the_loss_more_with_more_room(cnn, batch, norm, eps):
    losses = [gl.attack(Probe(cnn, batch), "pgd", norm=norm, eps=f * eps).loss.mean() for f in (0, 0.5, 1)]
    assert losses[0] == pytest.approx(Probe(cnn, batch).loss.mean().item())
    assert losses[0] < losses[1] < losses[2]


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
@pytest.mark.parametrize("steps", [1, 10])
def test_pgd_finds_the_worst_case_of_a_linear_model(two_classes, norm, dual, steps):
    model, batch = two_classes
    eps, weight = 0.05, model.net[1].weight.detach()
    slope = (weight[batch.target] - weight[1 - batch.target]).view(6, 3, 8, 8) / model.std
    reach = slope.flatten(1).norm(dual, dim=1)
    expected = nn.functional.softplus(-(Probe(model, batch).margin - eps * reach))
    room = {"norm": norm, "eps": eps, "steps": steps, "step_size": eps, "random_start": False}
    attacked = gl.attack(Probe(model, batch), "pgd", **room)
    torch.testing.assert_close(attacked.loss, expected, rtol=1e-9, atol=0)
    direction = -slope.sign() if norm == "linf" else -slope / reach.view(-1, 1, 1, 1)
    torch.testing.assert_close(attacked.batch.image, batch.image + eps * direction, rtol=0, atol=1e-9)


def test_pgd_keeps_the_worst_image_it_has_seen(two_classes):
    model, batch = two_classes
    probe = Probe(model, batch)

    def overshooting(image):
        """Peaks at a short step along the gradient and falls beyond it."""
        return -((size(image - batch.image, "linf") - 0.01) ** 2)

    evaluate = Scripted(overshooting, lambda image: probe.gradient())
    found = attack["pgd"](evaluate, batch.image, still, eps=0.05, steps=5, step_size=0.01)
    expected = torch.full((6,), 0.01, dtype=torch.float64)
    torch.testing.assert_close(size(found - batch.image, "linf"), expected, rtol=0, atol=1e-12)
    last = attack["pgd"](evaluate, batch.image, still, eps=0.05, steps=5, step_size=0.01, keep_worst=False)
    torch.testing.assert_close(size(last - batch.image, "linf"), 5 * expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("keep_worst", "passes"), [(True, 9), (False, 7)])
def test_pgd_takes_one_gradient_a_step(two_classes, keep_worst, passes):
    _, batch = two_classes
    evaluate = Scripted(lambda image: image.flatten(1).sum(1), torch.ones_like)
    attack["pgd"](evaluate, batch.image, still, steps=7, keep_worst=keep_worst)
    assert (evaluate.gradients, len(evaluate.asked)) == (7, passes)


@each_norm
def test_pgd_is_the_papers_loop(cnn, batch, norm, eps):
    """One image at a time, the gradient of F.cross_entropy by autograd, projections written out."""
    found = gl.attack(Probe(cnn, batch), "pgd", norm=norm, eps=eps, steps=4, keep_worst=False, random_start=False)
    for x, y, expected in zip(batch.image[:4], batch.target[:4], found.batch.image, strict=False):
        at = x.clone()
        for _ in range(4):
            leaf = at.clone().requires_grad_()
            (g,) = torch.autograd.grad(nn.functional.cross_entropy(cnn(leaf[None]), y[None]), leaf)
            at = at + 2.5 * eps / 4 * (g.sign() if norm == "linf" else g / g.norm())
            delta = at - x
            delta = delta.clamp(-eps, eps) if norm == "linf" else delta * min(1, eps / delta.norm())
            at = (x + delta).clamp(0, 1)
        off = (expected - at).abs() > 1e-4
        # Gradients that round to another sign leave single pixels a step apart.
        assert off.double().mean() < 0.01


def test_every_restart_of_pgd_begins_elsewhere_and_the_worst_is_kept(two_classes):
    _, batch = two_classes
    heights = torch.rand(6, 3, 8, 8, dtype=torch.float64)

    def noise(shape, draw=0):
        generator = torch.Generator().manual_seed(draw)
        return torch.rand(6, *shape, generator=generator, dtype=torch.float64)

    evaluate = Scripted(lambda image: (heights * image).flatten(1).sum(1), torch.zeros_like)
    found = attack["pgd"](evaluate, batch.image, noise, eps=0.1, steps=0, restarts=4)
    clean, *starts = evaluate.asked
    assert torch.equal(clean, batch.image)
    assert len({s.sum().item() for s in starts}) == 4
    values = torch.stack([evaluate.of(image) for image in evaluate.asked])
    assert torch.equal(evaluate.of(found), values.amax(0))
    assert len(set(values.argmax(0).tolist())) > 1


def test_restarts_of_an_image_do_not_repeat_and_do_not_weaken_its_attack(cnn, batch):
    losses = [gl.attack(Probe(cnn, batch), "pgd", steps=2, restarts=n).loss for n in (1, 2, 6)]
    assert (losses[0] <= losses[1]).all()
    assert (losses[1] <= losses[2]).all()
    assert (losses[0] < losses[2]).double().mean() > 0.5


def test_fgsm_is_a_step_along_the_sign(cnn, batch):
    probe = Probe(cnn, batch)
    found = gl.attack(probe, "fgsm", eps=0.1).batch.image
    torch.testing.assert_close(found, (batch.image + 0.1 * probe.gradient().sign()).clamp(0, 1), rtol=0, atol=1e-6)
    found = gl.attack(probe, "fgsm", eps=0.1, step_size=0.03, norm="l2").batch.image
    gradient = probe.gradient()
    step = 0.03 * gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(found, (batch.image + step).clamp(0, 1), rtol=0, atol=1e-6)


def test_fgsm_from_a_random_start_is_the_recipe_of_fast_adversarial_training(two_classes):
    _, batch = two_classes
    generator = torch.Generator().manual_seed(3)
    uniform = torch.rand(6, 3, 8, 8, generator=generator, dtype=torch.float64)
    slope = torch.randn(6, 3, 8, 8, dtype=torch.float64)
    evaluate = Scripted(lambda image: torch.zeros(6), lambda image: slope)
    found = attack["fgsm"](evaluate, batch.image, lambda shape, draw: uniform, eps=0.1, random_start=True)
    start = batch.image + (2 * uniform - 1) * 0.1
    delta = (start + 0.125 * slope.sign() - batch.image).clamp(-0.1, 0.1)
    torch.testing.assert_close(found, batch.image + delta, rtol=0, atol=1e-12)
    torch.testing.assert_close(evaluate.asked[0], start, rtol=0, atol=1e-12)
    assert evaluate.gradients == len(evaluate.asked) == 1


def test_pgd_without_steps_is_its_random_start(cnn, batch):
    probe = Probe(cnn, batch)
    assert (gl.attack(probe, "pgd", steps=0).loss >= probe.loss).all()


def test_pgd_under_a_vanishing_scale_still_moves(cnn, batch):
    head = cnn.net[-1]
    with torch.no_grad():
        head.weight.mul_(60)
        head.bias.mul_(60)
    batch = Batch(batch.image, Probe(cnn, batch).prediction, batch.index)
    probe = Probe(cnn, batch)
    assert (probe.gradient() == 0).flatten(1).all(1).any()
    assert (gl.attack(probe, "pgd").loss > probe.loss).all()
