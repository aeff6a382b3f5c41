"""Bisection finds the nearest broken image where it is known, alone or in company, and forgets no success."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from attack_cases import linear_model, with_exact_radii
from torch import nn

from gradlens.core.types import Batch
from gradlens.probes.attacks.bisection import SCHEDULES, Schedule, smallest
from gradlens.probes.probe import Probe

QUICK = replace(SCHEDULES["bisection"], steps=20, attacks=8)
TOPS = {"linf": 0.5, "l2": 3.0}


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_distances_of_a_linear_model_are_its_margins_over_its_slopes(norm):
    model, batch, exact = with_exact_radii()
    if norm == "l2":
        weight = model.net[1].weight.detach()
        slope = (weight[0] - weight[1]).view(3, 8, 8) / model.std[0]
        exact = exact * slope.abs().sum() / slope.norm()
    found = smallest(Probe(model, batch), norm, TOPS[norm], QUICK)
    torch.testing.assert_close(found.distance, exact.clamp(min=0), rtol=0.004, atol=0)
    assert (found.distance >= exact - 1e-12).all()
    assert torch.equal(found.passes == 0, exact <= 0)


def test_distances_to_a_sphere_are_its_radius_less_the_way_to_its_centre():
    class Sphere(nn.Module):
        def forward(self, image):
            inside = 0.5 - (image - 0.5).flatten(1).norm(dim=1)
            return torch.stack([inside, torch.zeros_like(inside)], 1)

    image = 0.5 + 0.02 * torch.randn(8, 3, 8, 8, dtype=torch.float64)
    batch = Batch(image, torch.zeros(8, dtype=torch.long), torch.arange(8))
    found = smallest(Probe(Sphere(), batch), "l2", 3.0, QUICK)
    exact = 0.5 - (image - 0.5).flatten(1).norm(dim=1)
    torch.testing.assert_close(found.distance, exact, rtol=0.004, atol=0)
    assert (found.distance >= exact - 1e-12).all()


def test_an_images_distance_does_not_depend_on_its_batch():
    _, batch = linear_model(12, 0.4, 0.6)
    deep = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.GELU(), nn.Linear(16, 4)).double()
    target = deep(batch.image).argmax(1)
    for chosen in (QUICK, replace(SCHEDULES["rodriguez2024"], steps=5)):
        whole = smallest(Probe(deep, Batch(batch.image, target, batch.index)), "linf", 0.5, chosen)
        part = Batch(batch.image[7:], target[7:], batch.index[7:])
        alone = smallest(Probe(deep, part), "linf", 0.5, chosen)
        torch.testing.assert_close(alone.distance, whole.distance[7:], rtol=1e-9, atol=0)
        assert torch.equal(alone.passes, whole.passes[7:])


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_what_counts_is_broken_and_at_its_distance(cnn, digits, norm, monkeypatch):
    from gradlens.probes.attacks import bisection

    kept = []
    learn = bisection._Search._learn
    monkeypatch.setattr(bisection._Search, "_learn", lambda self, *a: learn(self, *a) or kept.append(self))
    probe = Probe(cnn, digits[slice(0, 8)])
    found = smallest(probe, norm, TOPS[norm], replace(QUICK, steps=8, attacks=5))
    broke, delta = found.distance < torch.inf, (kept[-1].nearest - probe.batch.image).flatten(1)
    assert broke.any()
    assert not probe.at(kept[-1].nearest).correct[broke].any()
    torch.testing.assert_close(
        delta.norm(torch.inf if norm == "linf" else 2, dim=1)[broke].double(), found.distance[broke]
    )


def test_no_later_failure_forgets_a_success(cnn, digits):
    probe = Probe(cnn, digits[slice(0, 8)])
    # Starts from noise and few steps, so that attacks often fail.
    weak = Schedule(attacks=1, steps=2, start=0.05, step=0.5, warm=False, objective="loss")
    found = [smallest(probe, "linf", 0.5, replace(weak, attacks=n)).distance for n in (1, 2, 4, 8)]
    assert all((later <= sooner).all() for sooner, later in pairwise(found))
    assert (found[-1] < found[0]).any()


def test_finished_images_leave_the_batch_and_the_gradients_are_counted():
    model, batch, exact = with_exact_radii()
    passed = []
    hook = model.register_forward_hook(lambda module, inputs, output: passed.append(len(output)))
    found = smallest(Probe(model, batch), "linf", 0.5, QUICK)
    hook.remove()
    assert passed[0] == 40
    assert min(passed) < 10
    assert found.passes[exact > 0].max() <= (QUICK.attacks + QUICK.again) * QUICK.steps + 1


def test_a_model_that_nothing_breaks_and_one_that_is_always_wrong():
    class Constant(nn.Module):
        def forward(self, image):
            return torch.tensor([[1.0, 0.0]]) + 0 * image.flatten(1)[:, :2]

    image, index = torch.rand(3, 3, 8, 8), torch.arange(3)
    stays = smallest(Probe(Constant(), Batch(image, torch.zeros_like(index), index)), "linf", 0.5, QUICK)
    assert torch.equal(stays.distance, torch.full((3,), torch.inf, dtype=torch.float64))
    wrong = smallest(Probe(Constant(), Batch(image, torch.ones_like(index), index)), "linf", 0.5, QUICK)
    assert torch.equal(wrong.distance, torch.zeros(3, dtype=torch.float64))
    assert not wrong.passes.any()
