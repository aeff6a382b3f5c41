"""The smallest ε at which the worst of several attacks succeeds, against slow and exact definitions."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from refusals import refused
from torch import nn

import gradlens as gl
from gradlens.analyzers import STANDARD
from gradlens.analyzers._minimal_eps import BROKE, LARGE, NOTHING, SQUARE, UNATTACKED, WITHSTOOD, MinimalEps
from gradlens.core.registry import analyzer, attack
from gradlens.core.types import Batch
from gradlens.probes.attacks import Evaluate, noise_of
from gradlens.probes.attacks.worst_of import Member, Standing, first_to_break, worst_of
from gradlens.probes.probe import Probe

RADII = [0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08]
SUITE = [
    Member("pgd", "-margin", {"steps": 5}),
    Member("pgd", "loss", {"steps": 5, "restarts": 2}),
    Member("square", "-margin", {"queries": 20}),
]
FAST = MinimalEps(low=0.005, high=0.06, points=4, steps=4, restarts=2, queries=20, checked=1)


def rows_of(batch, rows):
    return Batch(batch.image[rows], batch.target[rows], batch.index[rows])


def summary_of(chosen, probe):
    columns = chosen.measure(probe)
    return columns, chosen.summarize(pd.DataFrame({k: v.numpy() for k, v in columns.items()}), {})


# --- against definitions


def succeeds(probe, member, eps):
    """Whether an attack on one image tries any that the model gets wrong."""
    tried = []

    class Watching(Evaluate):
        def __init__(self):
            super().__init__(lambda image: tried.append(probe.at(image)) or tried[-1], member.objective)

    noise = noise_of(probe, f"attack/{member.name}")
    attack[member.name](Watching(), probe.batch.image, noise, eps=eps, **member.parameters)
    return any(not look.correct.item() for look in tried)


def test_an_image_breaks_at_the_smallest_radius_of_an_exhaustive_search(cnn, digits):
    batch = digits[slice(0, 14)]
    found = worst_of(Probe(cnn, batch), RADII, SUITE).level.tolist()
    for k, level in enumerate(found):
        probe = Probe(cnn, rows_of(batch, [k]))
        broke = [any(succeeds(probe, member, eps) for member in SUITE) for eps in RADII]
        expected = 0 if not probe.correct.item() else [*broke, True].index(True) + 1
        assert level == expected
    assert len(set(found)) > 3


@pytest.fixture
def two_classes():
    """A linear float64 model, images clear of black and white, and each one's exact smallest radius."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    model = gl.load_model(net, mean=(0.5,) * 3, std=(0.2, 0.25, 0.3), device="cpu").double()
    image = 0.4 + 0.2 * torch.rand(40, 3, 8, 8, dtype=torch.float64)
    batch = Batch(image, torch.arange(40) % 2, torch.arange(40))
    weight = net[1].weight.detach()
    slope = ((weight[0] - weight[1]).view(3, 8, 8) / model.std[0]).abs().sum()
    return model, batch, Probe(model, batch).margin / slope


def test_a_linear_model_breaks_at_its_margin_over_its_slope(two_classes):
    model, batch, exact = two_classes
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


# --- the analyzer


def test_minimal_eps_lies_on_its_grid_and_is_the_area_under_the_curve(cnn, digits):
    probe = Probe(cnn, digits[slice(0, 32)])
    columns, summary = summary_of(FAST, probe)
    eps, accuracy = summary.arrays["curve/eps"], summary.arrays["curve/accuracy"] / 100
    np.testing.assert_allclose(eps, [0, 0.005, 0.005 + 0.055 / 3, 0.06 - 0.055 / 3, 0.06, 0.5])
    assert np.isin(columns["eps_min"].numpy(), eps).all()
    assert torch.equal(columns["eps_min"] == 0, ~probe.correct)
    area = sum((eps[k] - eps[k - 1]) * accuracy[k - 1] for k in range(1, len(eps) - 1))
    assert summary.scalars["eps_min_mean"] == pytest.approx(area)
    assert accuracy[0] == pytest.approx(probe.correct.double().mean().item())
    assert (np.diff(accuracy) <= 0).all()
    assert accuracy[-1] == summary.scalars["accuracy_large"] == 0
    for k in range(1, len(eps) - 2):
        assert accuracy[k] == pytest.approx((columns["eps_min"] > eps[k] + 1e-9).double().mean().item())


def test_what_the_grid_does_not_break_counts_with_its_top_and_is_told_apart(two_classes):
    model, batch, exact = two_classes
    high = exact.quantile(0.7).item()
    large = exact.quantile(0.9).item()
    chosen = MinimalEps(low=high / 8, high=high, points=8, large=large, steps=4, restarts=1, queries=5)
    columns, summary = summary_of(chosen, Probe(model, batch))
    above = exact > high
    assert torch.equal(columns["broken_by"] >= LARGE, above)
    assert torch.equal(columns["broken_by"] == NOTHING, exact > large)
    assert torch.equal(columns["broken_by"] == UNATTACKED, exact <= 0)
    torch.testing.assert_close(columns["eps_min"][above], torch.full_like(exact[above], high))
    curve = summary.arrays["curve/accuracy"]
    assert curve[-2] == pytest.approx(100 * above.double().mean().item())
    assert curve[-1] == pytest.approx(100 * (exact > large).double().mean().item())
    assert summary.scalars["accuracy_large"] == pytest.approx(curve[-1])


def test_masked_gradients_are_given_away_by_square(cnn, digits):
    class Rounded(nn.Module):
        def forward(self, image):
            return (cnn(image) * 2).round() / 2

    batch = digits[slice(0, 24)]
    chosen = MinimalEps(low=0.001, high=0.2, points=2, steps=2, restarts=1, queries=40, checked=0)
    columns, summary = summary_of(chosen, Probe(Rounded(), batch))
    assert (columns["broken_by"] == SQUARE).double().mean() > 0.2
    share = (columns["broken_by"] == SQUARE).double().mean().item()
    assert summary.scalars["only_square"] == pytest.approx(100 * share)
    _, sound = summary_of(chosen, Probe(cnn, batch))
    assert sound.scalars["only_square"] < 5


def test_more_steps_are_tried_just_below_where_an_image_breaks(cnn, digits):
    batch = digits[slice(0, 32)]
    chosen = MinimalEps(low=0.004, high=0.04, points=10, steps=1, restarts=1, queries=1, checked=1)
    probe = Probe(cnn, batch)
    columns, summary = summary_of(chosen, probe)
    level = [round(e / 0.004) for e in columns["eps_min"].tolist()]
    standing = columns["broken_by"] >= LARGE
    found = []
    for k, (at, code) in enumerate(zip(level, columns["more_steps"].tolist(), strict=True)):
        below = 10 if standing[k] else at - 1
        alone = Probe(cnn, rows_of(batch, [k]))
        longer = [Member("pgd", of, {"steps": 2}) for of in ("-margin", "loss")]
        expected = 0 if below < 1 else BROKE if any(succeeds(alone, m, 0.004 * below) for m in longer) else WITHSTOOD
        found.append((code, expected))
    assert all(code == expected for code, expected in found)
    assert {BROKE, WITHSTOOD} <= {code for code, _ in found}
    codes = np.array([code for code, _ in found])
    assert summary.scalars["more_steps_break"] == pytest.approx(100 * (codes == BROKE).sum() / (codes > 0).sum())
    assert summary.scalars["more_steps_checked"] == (codes > 0).sum()


def test_the_checked_share_belongs_to_the_image(cnn, digits):
    chosen = MinimalEps(low=0.001, high=0.04, points=2, steps=1, restarts=1, queries=1, checked=0.4)
    whole, part = (chosen.measure(Probe(cnn, digits[rows]))["more_steps"] for rows in (slice(0, 64), slice(32, 64)))
    assert torch.equal(whole[32:], part)
    assert 0.2 < (whole > 0).double().mean() < 0.6


def test_unchecked_steps_are_missing_with_their_reason(cnn, digits):
    chosen = MinimalEps(low=0.01, high=0.04, points=2, steps=1, restarts=1, queries=1, checked=0)
    _, summary = summary_of(chosen, Probe(cnn, digits[slice(0, 8)]))
    assert math.isnan(summary.scalars["more_steps_break"])
    assert "withstands" in summary.missing["more_steps_break"]


def test_a_run_names_norm_and_parameters_and_compares_eps_min(cnn):
    data = gl.load_data("digits").limit(24)
    spec = "minimal_eps:low=.01,high=.03,points=3,steps=2,restarts=1,queries=5"
    run = gl.analyze(cnn, data, analyzers=spec, examples=0)
    tail = "[linf,high=0.03,points=3,steps=2,restarts=1,queries=5]"
    assert {f"{name}{tail}" for name in ("eps_min", "broken_by", "more_steps")} <= set(run.samples)
    assert run.summary[f"eps_min_mean{tail}"] == pytest.approx(run.samples[f"eps_min{tail}"].mean())
    assert run.provenance["primary"] == [f"eps_min{tail}"]
    assert MinimalEps().suffix == "[linf]"


def test_minimal_eps_is_only_measured_when_asked_for():
    assert "minimal_eps" in analyzer
    assert "minimal_eps" not in STANDARD


def test_unlabelled_images_are_measured_from_their_prediction(cnn, batch):
    columns = FAST.measure(Probe(cnn, Batch(batch.image, None, batch.index)))
    assert (columns["eps_min"] > 0).all()


@pytest.mark.parametrize(
    "wrong", [{"low": 0.0}, {"low": 0.2}, {"points": 1}, {"large": 0.1}, {"large": 2.0}, {"high": float("nan")}]
)
def test_a_grid_that_is_none_is_refused(wrong):
    with refused("minimal_eps", "low < high < large"):
        MinimalEps(**wrong)
