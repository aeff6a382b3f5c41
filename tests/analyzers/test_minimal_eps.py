"""The smallest ε that breaks an image lies on its grid, and says what broke it and what it may have missed."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from attack_cases import linear_model, succeeds, with_exact_radii
from refusals import refused
from torch import nn

import gradlens as gl
from gradlens.analyzers import STANDARD
from gradlens.analyzers._minimal_eps import BROKE, LARGE, NOTHING, SQUARE, UNATTACKED, WITHSTOOD, MinimalEps
from gradlens.core.registry import analyzer
from gradlens.core.types import Batch
from gradlens.probes.attacks.worst_of import Member
from gradlens.probes.probe import Probe

FAST = MinimalEps(low=0.005, high=0.06, points=4, steps=4, restarts=2, queries=20, checked=1)


def summary_of(chosen, probe):
    columns = chosen.measure(probe)
    return columns, chosen.summarize(pd.DataFrame({k: v.numpy() for k, v in columns.items()}), {})


def test_minimal_eps_lies_on_its_grid_and_is_the_area_under_the_curve(cnn, digits):
    probe = Probe(cnn, digits[slice(0, 32)])
    columns, summary = summary_of(FAST, probe)
    eps, accuracy = summary.arrays["curve/eps"], summary.arrays["curve/accuracy"] / 100
    np.testing.assert_allclose(eps, [0, 0.005, 0.005 + 0.055 / 3, 0.06 - 0.055 / 3, 0.06, 0.5])
    middles = [0, *(eps[:-2] + eps[1:-1]) / 2, eps[-2]]
    assert np.abs(columns["eps_min"].numpy()[:, None] - middles).min(1).max() < 1e-12
    assert torch.equal(columns["eps_min"] == 0, ~probe.correct)
    # What a comparison tests is what the summary says.
    assert columns["eps_min"].mean().item() == pytest.approx(summary.scalars["eps_min_mean"])
    assert summary.scalars["eps_min_mean"] == pytest.approx(np.trapezoid(accuracy[:-1], eps[:-1]))
    assert summary.scalars["eps_min_mean_correct"] == pytest.approx(summary.scalars["eps_min_mean"] / accuracy[0])
    assert accuracy[0] == pytest.approx(probe.correct.double().mean().item())
    assert (np.diff(accuracy) <= 0).all()
    assert accuracy[-1] == summary.scalars["accuracy_large"] == 0
    for k in range(1, len(eps) - 2):
        assert accuracy[k] == pytest.approx((columns["eps_min"] > eps[k]).double().mean().item())


def test_what_the_grid_does_not_break_counts_with_its_top_and_is_told_apart():
    model, batch, exact = with_exact_radii()
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


def test_mean_of_a_linear_network_is_that_of_its_margins():
    # Six steps of the grid to the mean. Breaking points fall anywhere between two ε, so the middle is wrong by at
    # most half a step, a standard deviation of step / √12 an image: 3 % of the mean is five of that of 400 images.
    model, batch = linear_model(400, 0.4, 0.6)
    weight = (model.net[1].weight.detach() / torch.tensor([0.2, 0.25, 0.3]).repeat_interleave(64)).double()
    margin = (model(batch.image) * torch.tensor([1.0, -1.0])).sum(1).detach()
    # Every image sits at a margin of its own, of which a tenth are on the wrong side.
    slope = (weight[0] - weight[1]) * torch.where(batch.target == 0, 1, -1)[:, None]
    wanted = torch.linspace(-0.01, 0.09, 400)[torch.randperm(400)].double() * slope.abs().sum(1)
    margin = margin * torch.where(batch.target == 0, 1, -1)
    image = batch.image + ((wanted - margin) / slope.square().sum(1))[:, None].mul(slope).view(-1, 3, 8, 8)
    exact = (wanted / slope.abs().sum(1)).clamp(min=0)
    assert image.min() > 0.1
    assert image.max() < 0.9
    chosen = MinimalEps(low=0.008, high=0.096, points=12, steps=2, restarts=1, queries=1, checked=0)
    columns, summary = summary_of(chosen, Probe(model, Batch(image, batch.target, batch.index)))
    assert summary.scalars["eps_min_mean"] == pytest.approx(exact.mean().item(), rel=0.03)
    assert summary.scalars["eps_min_mean_correct"] == pytest.approx(exact[exact > 0].mean().item(), rel=0.03)
    assert columns["eps_min"].mean().item() == pytest.approx(exact.mean().item(), rel=0.03)


def test_no_correct_image_leaves_no_mean_of_them(cnn, digits):
    batch = digits[slice(0, 8)]
    wrong = (Probe(cnn, batch).prediction + 1) % 10
    _, summary = summary_of(FAST, Probe(cnn, Batch(batch.image, wrong, batch.index)))
    assert math.isnan(summary.scalars["eps_min_mean"])
    assert "no image is correct" in summary.missing["eps_min_mean"]
    assert math.isnan(summary.scalars["eps_min_mean_correct"])
    assert "correct" in summary.missing["eps_min_mean_correct"]


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
    level = [math.ceil(e / 0.004 - 1e-6) for e in columns["eps_min"].tolist()]
    standing = columns["broken_by"] >= LARGE
    found = []
    for k, (at, code) in enumerate(zip(level, columns["more_steps"].tolist(), strict=True)):
        below = 10 if standing[k] else at - 1
        alone = Probe(cnn, batch[slice(k, k + 1)])
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


@pytest.mark.parametrize("wrong", [{"low": 0.0}, {"low": 0.2}, {"points": 1}, {"large": 0.1}, {"high": float("nan")}])
def test_a_grid_that_is_none_is_refused(wrong):
    with refused("minimal_eps", "low < high < large"):
        MinimalEps(**wrong)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_bisection_needs_no_grid(norm):
    model, batch, exact = with_exact_radii()
    weight = model.net[1].weight.detach()
    slope = (weight[0] - weight[1]).view(3, 8, 8) / model.std[0]
    exact = exact * (1 if norm == "linf" else slope.abs().sum() / slope.norm())
    chosen = MinimalEps(search="bisection", norm=norm)
    columns, summary = summary_of(chosen, Probe(model, batch))
    assert chosen.suffix == f"[{norm},search=bisection]"
    torch.testing.assert_close(columns["eps_min"], exact.clamp(min=0), rtol=0.004, atol=0)
    assert torch.equal(columns["broken_by"] == UNATTACKED, exact <= 0)
    assert summary.scalars["eps_min_mean"] == pytest.approx(exact.clamp(min=0).mean().item(), rel=0.004)
    assert summary.scalars["eps_min_mean_correct"] == pytest.approx(exact[exact > 0].mean().item(), rel=0.004)
    assert {reading.key for reading in chosen.readings} <= set(summary.scalars)
    eps, accuracy = summary.arrays["curve/eps"], summary.arrays["curve/accuracy"]
    assert len(eps) == 101
    assert (accuracy[0], accuracy[99]) == (pytest.approx(100 * (exact > 0).double().mean().item()), 0)
    wanted = [100 * (columns["eps_min"] > radius).double().mean().item() for radius in eps]
    np.testing.assert_allclose(accuracy, wanted)


def test_what_bisection_does_not_break_counts_with_the_farthest_that_it_looked():
    model, batch, exact = with_exact_radii()
    large = exact.quantile(0.7).item()
    columns, summary = summary_of(MinimalEps(search="bisection", large=large), Probe(model, batch))
    above = exact > large
    assert torch.equal(columns["broken_by"] == NOTHING, above)
    torch.testing.assert_close(columns["eps_min"][above], torch.full_like(exact[above], large))
    assert summary.scalars["accuracy_large"] == pytest.approx(100 * above.double().mean().item())
    assert summary.arrays["curve/accuracy"][-1] == summary.scalars["accuracy_large"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("search=bisect", ["'bisect'", "bisection"]),
        ("norm=l2", ["search=grid", "'l2'", "search=bisection"]),
        ("search=rodriguez2024,norm=l2", ["'l2'"]),
        ("large=2", ["large=2"]),
        ("search=bisection,large=0", ["large=0"]),
        ("search=bisection,norm=l1", ["'l1'"]),
        ("search=bisection,points=3,steps=9", ["points, steps", "grid"]),
    ],
)
def test_searches_that_cannot_be_made_are_refused(given, words):
    with refused(*words):
        analyzer.build(f"minimal_eps:{given}")
