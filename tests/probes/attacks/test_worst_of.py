"""The worst of several attacks breaks an image at the smallest radius that a slow search finds."""

import numpy as np
import torch
from attack_cases import SUITE, succeeds, with_exact_radii

import gradlens as gl
from gradlens.core.registry import attack
from gradlens.probes.attacks import noise_of
from gradlens.probes.attacks.worst_of import Standing, first_to_break, worst_of
from gradlens.probes.probe import Probe

RADII = [0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08]


def test_an_image_breaks_at_the_smallest_radius_of_an_exhaustive_search(cnn, digits):
    batch = digits[slice(0, 14)]
    found = worst_of(Probe(cnn, batch), RADII, SUITE).level.tolist()
    for k, level in enumerate(found):
        probe = Probe(cnn, batch[slice(k, k + 1)])
        broke = [any(succeeds(probe, member, eps) for member in SUITE) for eps in RADII]
        expected = 0 if not probe.correct.item() else [*broke, True].index(True) + 1
        assert level == expected
    assert len(set(found)) > 3


def test_a_linear_model_breaks_at_its_margin_over_its_slope():
    model, batch, exact = with_exact_radii()
    radii = torch.linspace(0.0, exact.quantile(0.9).item(), 9)[1:].tolist()
    level, breaker = worst_of(Probe(model, batch), radii, SUITE)
    expected = [0 if e <= 0 else int(np.searchsorted(radii, e.item())) + 1 for e in exact]
    assert level.tolist() == expected
    assert set(expected) >= {0, 1, 2, 8, 9}
    assert torch.equal(breaker > 0, (level > 0) & (level < 9))


def test_the_first_attack_that_breaks_an_image_is_named(cnn, digits):
    probe, eps = Probe(cnn, digits[slice(0, 24)]), torch.full((24,), 0.02)
    chosen = probe.correct & (torch.arange(24) % 3 > 0)
    by = first_to_break(probe, SUITE, chosen, eps)
    alone = torch.stack([first_to_break(probe, [member], chosen, eps) for member in SUITE])
    expected = torch.where(alone.any(0), alone.argmax(0) + 1, 0)
    assert torch.equal(by, expected)
    assert not by[~chosen].any()
    without = first_to_break(probe, SUITE, chosen, eps, first=1)
    assert set(without.unique().tolist()) <= {0, 2, 3}


def test_nothing_is_spent_on_an_image_once_it_is_broken(cnn, digits):
    batch = digits[slice(0, 24)]
    passed = []
    hook = cnn.register_forward_pre_hook(lambda module, inputs: passed.append(len(inputs[0])))
    probe = Probe(cnn, batch)
    by = first_to_break(probe, SUITE[:1], probe.correct, torch.full((24,), 0.02))
    hook.remove()
    standing = int((probe.correct & (by == 0)).sum())
    assert 0 < standing < probe.correct.sum()
    seen, *attacked = passed
    assert (seen, attacked[0], len(attacked)) == (24, int(probe.correct.sum()), 7)
    assert attacked == sorted(attacked, reverse=True)
    assert standing <= attacked[-1] < attacked[0]


def test_images_that_still_stand_are_attacked_as_they_would_be_alone(cnn, digits):
    probe = Probe(cnn, digits[slice(0, 16)])
    standing, noise = Standing(probe, "loss"), noise_of(probe, "attack/pgd")
    found = attack["pgd"](standing, probe.batch.image, noise, eps=0.015, steps=6)
    alone = gl.attack(probe, "pgd", eps=0.015, steps=6)
    left = ~standing.broken
    assert 0 < left.sum() < 16
    torch.testing.assert_close(found[left], alone.batch.image[left], rtol=0, atol=1e-6)
    assert alone.correct[left].all()
