"""Numbers of spread and of tails are their definitions, and say how they change with the sample."""

import itertools
import math

import numpy as np
import pytest
import reference
from scipy import stats
from spread_cases import SPREAD, STATISTICS, covered, each_spread

from gradlens.stats.tails import (
    coefficient_of_variation,
    expected_at,
    gini,
    gini_estimate,
    log_deviation,
    tail_index,
    top_share,
    variance_shares,
)


def slow_top_share(values):
    """1 − L(0.99), with the Lorenz curve through the points (k/n, Σ of the k smallest / Σ)."""
    x = np.sort(values)
    curve = np.concatenate([[0], np.cumsum(x)]) / x.sum()
    return 1 - np.interp(0.99, np.arange(len(x) + 1) / len(x), curve)


@pytest.mark.parametrize("values", [[1, 1, 1], [0, 0, 5], [3, 1, 4, 1, 5, 9, 2.6], np.geomspace(1e-6, 1e3, 60)])
def test_gini_is_the_mean_difference_of_pairs(values):
    np.testing.assert_allclose(gini(values), reference.gini(values), rtol=1e-12, atol=1e-15)


def test_gini_runs_from_equality_to_one_holder():
    assert gini(np.full(100, 0.3)) == pytest.approx(0, abs=1e-12)
    assert gini([0] * 99 + [7]) == pytest.approx(0.99)


@pytest.mark.parametrize("values", [[], [0, 0], [1, np.nan]])
def test_gini_of_nothing_is_missing(values):
    assert np.isnan(gini(values))


def test_variation_is_scipys(rng):
    x = rng.lognormal(size=77)
    assert coefficient_of_variation(x) == pytest.approx(stats.variation(x, ddof=1), rel=1e-12)


@pytest.mark.parametrize("n", [100, 137, 200, 250, 1000])
def test_top_share_is_read_off_the_lorenz_curve(rng, n):
    x = rng.lognormal(size=n)
    assert top_share(x) == pytest.approx(slow_top_share(x), rel=1e-12)


def test_top_share_runs_from_equality_to_one_holder():
    assert top_share(np.full(300, 0.7)) == pytest.approx(0.01)
    assert top_share([0] * 299 + [7]) == 1
    assert np.isnan(top_share(np.ones(99)))


def test_log_deviation_is_that_of_positive_values(rng):
    x = rng.lognormal(size=50)
    expected = np.log(x).std(ddof=1)
    assert log_deviation(x) == pytest.approx(expected, rel=1e-12)
    assert log_deviation([*x, 0, 0]) == pytest.approx(expected, rel=1e-12)


@each_spread
def test_spread_ignores_scale_and_order(rng, name):
    measure, _ = SPREAD[name]
    x = rng.lognormal(size=200)
    assert measure(1e-20 * rng.permutation(x)) == pytest.approx(measure(x), rel=1e-9)


@each_spread
@pytest.mark.parametrize("values", [[], [0.0] * 200, [np.nan] * 200])
def test_spread_of_nothing_is_missing(name, values):
    assert np.isnan(SPREAD[name][0](values))


@each_spread
def test_spread_of_equal_values_is_the_least(name):
    least = 0.01 if name == "top share" else 0
    assert SPREAD[name][0](np.full(200, 0.25)) == pytest.approx(least, abs=1e-12)


@each_spread
def test_standard_error_is_the_jackknifes(rng, name):
    measure, statistic = SPREAD[name]
    x = np.sort(rng.gamma(2.0, size=400))
    without = [measure(np.delete(x, i)) for i in range(len(x))]
    expected = math.sqrt((len(x) - 1) ** 2 / len(x) * np.var(without, ddof=1))
    assert statistic.estimator(x)[1] == pytest.approx(expected, rel=0.03)


@each_spread
def test_samples_beside_each_other_are_estimated_alike(rng, name):
    measure, statistic = SPREAD[name]
    samples = np.sort(rng.lognormal(size=(3, 150)) * (rng.random((3, 150)) < 0.9))
    estimates, errors = statistic.estimator(samples)
    np.testing.assert_allclose(estimates, [measure(s) for s in samples], rtol=1e-12)
    np.testing.assert_allclose(errors, [statistic.estimator(s)[1] for s in samples], rtol=1e-12)


def test_expected_spread_is_that_of_all_subsamples(rng):
    x = rng.lognormal(size=7)
    every = [gini(subset) for subset in itertools.combinations(x, 3)]
    found = expected_at(x, {"gini": gini_estimate}, size=3, subsamples=40_000)["gini"]
    assert found == pytest.approx(np.mean(every), abs=5 * np.std(every) / 200)


def test_expected_spread_at_its_own_size_is_the_samples(rng):
    x = rng.lognormal(size=200)
    found = expected_at(x, {name: s.estimator for name, s in STATISTICS.items()})
    assert found == pytest.approx({name: measure(x) for name, (measure, _) in SPREAD.items()}, rel=1e-12)


@each_spread
def test_only_the_expected_spread_stays_when_the_sample_grows(rng, name):
    measure, statistic = SPREAD[name]
    large = rng.pareto(1.3, size=(8, 20_000)) + 1
    small = large.reshape(-1, 500)
    alone = np.mean([measure(x) for x in large]) / np.mean([measure(x) for x in small])
    fixed = [
        [expected_at(x, {"": statistic.estimator}, subsamples=n)[""] for x in xs]
        for xs, n in ((large, 400), (small, 20))
    ]
    assert np.mean(fixed[0]) / np.mean(fixed[1]) == pytest.approx(1, abs=0.01)
    assert alone > 1.02 or name == "log deviation"


def test_expected_spread_is_seeded_and_needs_the_size(rng):
    x = rng.lognormal(size=300)
    first, same, other = (expected_at(x, {"gini": gini_estimate}, seed=seed)["gini"] for seed in (0, 0, 1))
    assert first == same
    assert first == pytest.approx(other, rel=0.01)
    assert first != other
    assert np.isnan(expected_at(x[:199], {"gini": gini_estimate})["gini"])


def test_expected_spread_of_almost_only_zeros_is_missing():
    assert np.isnan(expected_at([0.0] * 5000 + [1.0], {"gini": gini_estimate})["gini"])


def test_tail_index_is_hills(rng):
    x = rng.lognormal(size=90)
    largest = sorted(x, reverse=True)[:11]
    expected = 1 / np.mean([math.log(v / largest[10]) for v in largest[:10]])
    assert tail_index(x)[0] == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(tail_index(7e-9 * x), tail_index(x), rtol=1e-9)


@pytest.mark.parametrize("alpha", [0.8, 1.5, 4.0])
def test_tail_index_covers_a_paretos_as_often_as_it_says(rng, alpha):
    found = np.array([tail_index(x) for x in rng.pareto(alpha, size=(2000, 500)) + 1])
    assert np.median(found[:, 0]) == pytest.approx(alpha, rel=0.05)
    assert covered(found, alpha) == pytest.approx(0.95, abs=0.013)


def test_tail_index_is_missing_of_few_or_equal_values():
    assert np.isnan(tail_index(np.arange(1, 20))).all()
    assert np.isfinite(tail_index(np.arange(1, 21))).all()
    assert np.isnan(tail_index(np.ones(100))).all()
    assert np.isnan(tail_index([0.0] * 50)).all()


def test_shares_of_variance_add_up(rng):
    a, b = rng.normal(size=(2, 300)) + rng.normal(size=300)
    shares = variance_shares(a, b)
    assert sum(shares) == pytest.approx(1, rel=1e-12)
    total = np.var(a + b)
    expected = np.var(a) / total, np.var(b) / total, 2 * np.mean((a - a.mean()) * (b - b.mean())) / total
    np.testing.assert_allclose(shares, expected, rtol=1e-12)


def test_opposed_parts_have_a_negative_covariance(rng):
    a, b = rng.normal(size=(2, 300))
    shares = variance_shares(a, 0.1 * b - 0.9 * a)
    assert shares[2] < 0 < 1 < shares[0] + shares[1]


@pytest.mark.parametrize("values", [([], []), ([1.0], [2.0]), ([1.0, 2.0, 3.0], [0.3, -0.7, -1.7])])
def test_a_sum_that_does_not_vary_has_no_shares(values):
    assert np.isnan(variance_shares(*values)).all()
