"""Rank correlations over models that come in families and over images: slow definitions, limits, known truth."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from gradlens.stats.association import family_bootstrap, spearman, spearman_interval, spearman_within

FAMILY = np.array(["resnet"] * 7 + ["vit"] * 3 + ["swin"] * 2)


@pytest.fixture
def pair(rng):
    """Two numbers a model, of which families of unequal sizes share a part."""
    x = rng.normal(size=12) + 3 * (FAMILY == "vit")
    return x, x + rng.normal(size=12) + 2 * (FAMILY == "swin")


def test_spearman_is_the_correlation_of_ranks_also_with_ties(pair):
    x, y = np.round(pair[0], 1), np.round(pair[1], 0)
    a, b = (np.array([(np.sum(v < k) + np.sum(v <= k) + 1) / 2 for k in v]) - 6.5 for v in (x, y))
    assert spearman(x, y) == pytest.approx(a @ b / math.sqrt((a @ a) * (b @ b)), rel=1e-12)
    assert math.isnan(spearman(x[:3], y[:3]))
    assert math.isnan(spearman(np.ones(12), y))


def test_within_families_each_models_rank_is_measured_from_its_own_families_mean(pair):
    x, y = pair
    a, b = stats.rankdata(x), stats.rankdata(y)
    left = [np.array([r[i] - np.mean(r[FAMILY[i] == FAMILY]) for i in range(12)]) for r in (a, b)]
    assert spearman_within(x, y, FAMILY) == pytest.approx(np.corrcoef(*left)[0, 1])
    # A family counts by its models: with every family's mean at equal weight it would be another number.
    assert spearman_within(x, y, FAMILY) != pytest.approx(spearman(x, y))
    assert math.isnan(spearman_within(x[:9], y[:9], list("abcdefghi")))


def test_what_differs_between_families_alone_vanishes_within_them(rng):
    own = rng.normal(size=12)
    shifts = np.select([FAMILY == "vit", FAMILY == "swin"], [100.0, 200.0])
    assert spearman(own + shifts, rng.normal(size=12) + shifts) > 0.7
    assert spearman_within(own + shifts, own + shifts, FAMILY) == pytest.approx(1)


def test_the_bootstrap_draws_whole_families_and_each_as_often(pair):
    x, y = pair
    names = ["resnet", "swin", "vit"]
    random, found = np.random.default_rng(0), []
    for _ in range(1000):
        rows = np.concatenate([np.flatnonzero(names[k] == FAMILY) for k in random.integers(3, size=3)])
        found.append(stats.spearmanr(x[rows], y[rows]).statistic if len(rows) > 3 else np.nan)
    expected = np.quantile([v for v in found if np.isfinite(v)], [0.025, 0.975])
    assert family_bootstrap(x, y, FAMILY) == pytest.approx(tuple(expected))
    assert all(math.isnan(v) for v in family_bootstrap(x, y, np.where(FAMILY == "vit", "vit", "resnet")))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_interval_is_bonett_and_wrights(rho, rng):
    x = rng.normal(size=400)
    y = rho * x + math.sqrt(1 - rho**2) * rng.normal(size=400)
    found, low, high = spearman_interval(x, y)
    half = stats.norm.ppf(0.975) * math.sqrt((1 + found**2 / 2) / (400 - 3))
    assert (math.atanh(high) - math.atanh(found)) == pytest.approx(half)
    assert (math.atanh(found) - math.atanh(low)) == pytest.approx(half)
    # Without the term in ρ² it would be narrower by this much.
    assert half / (stats.norm.ppf(0.975) / math.sqrt(397)) == pytest.approx(math.sqrt(1 + found**2 / 2))


def test_two_clusters_correlate_and_their_models_do_not(rng):
    family = np.repeat(["natural", "robust"], 20)
    x, y = rng.normal(size=(2, 40)) + 8 * (family == "robust")
    assert spearman(x, y) > 0.7
    assert abs(spearman_within(x, y, family)) < 0.4


def test_family_bootstrap_draws_whole_families(rng):
    family = np.repeat(list("abc"), 4)
    x, y = rng.normal(size=(2, 12))
    rows = {f: np.flatnonzero(family == f) for f in "abc"}
    every = []
    for drawn in itertools.product("abc", repeat=3):
        chosen = np.concatenate([rows[f] for f in drawn])
        every.append(stats.spearmanr(x[chosen], y[chosen]).statistic)
    low, high = family_bootstrap(x, y, family)
    assert (low, high) == pytest.approx((min(every), max(every)))
    assert np.isnan(family_bootstrap(x, y, np.repeat(["a", "b"], 6))).all()


def test_the_value_is_scipys_and_lies_between_its_limits(rng):
    x = rng.normal(size=300)
    y = x + rng.normal(size=300)
    rho, low, high = spearman_interval(x, y)
    assert rho == pytest.approx(stats.spearmanr(x, y).statistic)
    assert low < rho < high
    # Swapped signs swap the limits.
    assert spearman_interval(x, -y) == pytest.approx((-rho, -high, -low))


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.8])
def test_limits_cover_the_truth_as_often_as_they_say(correlation, rng):
    # Of a bivariate normal, Spearman's is (6 / π) asin(r / 2).
    truth = 6 / math.pi * math.asin(correlation / 2)
    mix = np.linalg.cholesky([[1, correlation], [correlation, 1]])
    hits = 0
    for _ in range(600):
        x, y = mix @ rng.normal(size=(2, 80))
        _, low, high = spearman_interval(x, y)
        hits += low <= truth <= high
    # Six hundred draws of a 95 % event lie within 2.7 points of it, three standard errors.
    assert abs(hits / 600 - 0.95) < 0.027


def test_pairs_with_a_missing_value_are_left_out():
    x, y = np.array([1, 2, np.nan, 3, 4, 5, 9.0]), np.array([2, 1, 7, np.inf, 3, 5, 4.0])
    known = [0, 1, 4, 5, 6]
    assert spearman_interval(x, y)[0] == pytest.approx(stats.spearmanr(x[known], y[known]).statistic)


@pytest.mark.parametrize("y", [[1, 1, 1, 1, 1], [1, 2, 3, np.nan, np.nan]])
def test_constant_values_and_too_few_have_none(y):
    assert np.isnan(spearman_interval([1, 2, 3, 4, 5], y)).all()


def test_a_perfect_order_has_no_limits():
    rho, low, high = spearman_interval(np.arange(9), np.arange(9) ** 3)
    assert rho == pytest.approx(1)
    assert math.isnan(low)
    assert math.isnan(high)
