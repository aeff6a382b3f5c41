"""Intervals of means, shares, quantiles and spreads hold the truth as often as they say."""

import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats
from spread_cases import SPREAD, STATISTICS, covered, each_spread

from gradlens.stats.intervals import (
    bootstrap_limits,
    mean_interval,
    quantile_interval,
    quantile_ratio_interval,
    share_interval,
)
from gradlens.stats.tails import gini


def test_interval_is_students(rng):
    x = rng.normal(3, 2, 50)
    half = stats.t.ppf(0.95, 49) * math.sqrt(sum((x - x.mean()) ** 2) / 49 / 50)
    np.testing.assert_allclose(mean_interval(x, 0.9), (x.mean(), x.mean() - half, x.mean() + half), rtol=1e-12)


def test_interval_covers_the_mean_as_often_as_it_says(rng):
    found = [mean_interval(x) for x in rng.lognormal(0, 0.5, size=(3000, 500))]
    assert 0.93 <= covered(found, math.exp(0.125)) <= 0.97


def test_interval_needs_two_values():
    assert np.isnan(mean_interval([])).all()
    mean, low, high = mean_interval([4.0, np.nan])
    assert mean == 4
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (7, 7), (3, 11), (412, 500)])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_share_interval_is_wilsons(successes, trials, level):
    share, z2 = successes / trials, stats.norm.ppf((1 + level) / 2) ** 2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = math.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2))) / (1 + z2 / trials)
    np.testing.assert_allclose(
        share_interval(successes, trials, level), (share, centre - half, centre + half), rtol=1e-12, atol=1e-15
    )


def test_share_of_no_trials_is_missing():
    assert np.isnan(share_interval(0, 0)).all()


@pytest.mark.parametrize(("n", "p", "rank"), [(20, 0.5, 6), (60, 0.9, 50), (500, 0.99, 490)])
def test_quantile_limit_of_an_exact_tail_is_an_order_statistic(rng, n, p, rank):
    x = np.sort(rng.normal(size=n))
    tail = stats.binom.cdf(rank - 1, n, p)
    _, low, _ = quantile_interval(rng.permutation(x), p, 1 - 2 * tail)
    assert low == pytest.approx(x[rank - 1], rel=1e-9)
    _, _, high = quantile_interval(-x, 1 - p, 1 - 2 * tail)
    assert high == pytest.approx(-x[rank - 1], rel=1e-9)


@pytest.mark.parametrize(("n", "p"), [(60, 0.9), (500, 0.99), (40, 0.2)])
def test_quantile_limit_between_order_statistics_errs_as_often_as_it_says(rng, n, p):
    between = quantile_interval(np.arange(n), p)[1]
    rank, weight = int(between) + 1, between % 1
    # Two neighbouring order statistics of n uniform numbers.
    here = rng.beta(rank, n + 1 - rank, 400_000)
    following = here + (1 - here) * rng.beta(1, n - rank, 400_000)
    assert 0.1 < weight < 0.95
    assert np.mean(here + weight * (following - here) > p) == pytest.approx(0.025, abs=0.0015)


@pytest.mark.parametrize(("n", "p"), [(500, 0.5), (500, 0.9), (500, 0.99), (15, 0.5)])
def test_quantile_interval_covers_as_often_as_it_says(rng, n, p):
    found = [quantile_interval(x, p) for x in rng.lognormal(size=(2500, n))]
    assert covered(found, math.exp(stats.norm.ppf(p))) == pytest.approx(0.95, abs=0.013)


@pytest.mark.parametrize(("p", "enough"), [(0.5, 6), (0.9, 36), (0.99, 368)])
def test_quantile_interval_needs_values_beyond_it(p, enough):
    assert np.isfinite(quantile_interval(np.arange(enough), p)).all()
    value, low, high = quantile_interval(np.arange(enough - 1), p)
    assert np.isfinite(value)
    assert np.isnan([low, high]).any()
    assert np.isnan(quantile_interval([], p)).all()


DRAWN = {
    "lognormal 0.5": (lambda rng, n: rng.lognormal(0, 0.5, n), stats.lognorm(0.5)),
    "lognormal 1": (lambda rng, n: rng.lognormal(0, 1, n), stats.lognorm(1)),
    "normal": (lambda rng, n: rng.normal(3, 0.5, n), stats.norm(3, 0.5)),
}
each_distribution = pytest.mark.parametrize("drawn", DRAWN)


@each_distribution
@pytest.mark.parametrize("p", [0.9, 0.99])
def test_quantile_ratio_covers_as_often_as_it_says(rng, drawn, p):
    draw, law = DRAWN[drawn]
    found = [quantile_ratio_interval(draw(rng, 500), p) for _ in range(1500)]
    assert 0.93 <= covered(found, law.ppf(p) / law.ppf(0.5)) <= 0.97


def test_quantile_ratio_ignores_scale(rng):
    x = rng.lognormal(size=400)
    ratio, low, high = quantile_ratio_interval(x, 0.9)
    assert ratio == pytest.approx(np.quantile(x, 0.9) / np.median(x), rel=1e-12)
    assert low < ratio < high
    assert quantile_ratio_interval(1e-30 * x, 0.9) == pytest.approx((ratio, low, high), rel=1e-9)


def test_quantile_ratio_of_mostly_zeros_is_missing(rng):
    assert np.isnan(quantile_ratio_interval([0.0] * 60 + [1.0] * 40, 0.9)).all()
    ratio, low, high = quantile_ratio_interval([0.0] * 45 + [1.0] * 55, 0.9)
    assert ratio == 1
    assert np.isnan([low, high]).all()


@each_spread
def test_bootstrap_limits_hold_the_estimate_and_ignore_scale_and_order(rng, name):
    x = rng.lognormal(size=300)
    measure, statistic = SPREAD[name]
    low, high = bootstrap_limits(x, {name: statistic})[name]
    assert low < measure(x) < high
    assert bootstrap_limits(1e-20 * rng.permutation(x), {name: statistic})[name] == pytest.approx((low, high), rel=1e-6)
    assert bootstrap_limits(x, STATISTICS)[name] == (low, high)
    assert bootstrap_limits(x, {name: statistic}, seed=1)[name] != (low, high)


def test_bootstrap_limits_close_in_with_the_root_of_n(rng):
    x = rng.lognormal(0, 0.5, size=12_800)
    narrow, wide = (bootstrap_limits(s, STATISTICS) for s in (x, x[:800]))
    for name in STATISTICS:
        assert np.diff(wide[name])[0] / np.diff(narrow[name])[0] == pytest.approx(4, rel=0.35), name


def test_bootstrap_limits_narrow_with_the_level(rng):
    x = rng.lognormal(size=300)
    half, most = (bootstrap_limits(x, STATISTICS, level)["gini"] for level in (0.5, 0.95))
    assert most[0] < half[0] < gini(x) < half[1] < most[1]


def test_bootstrap_keeps_zeros(rng):
    x = rng.lognormal(size=400)
    whole, holed = (bootstrap_limits(s, STATISTICS) for s in (x, np.concatenate([x, np.zeros(400)])))
    assert holed["gini"][0] > whole["gini"][1]
    # Zeros have no logarithm; the rest of the sample tells as much as before.
    assert np.diff(holed["log deviation"]) == pytest.approx(np.diff(whole["log deviation"]), rel=0.25)


@pytest.mark.parametrize("values", [[], np.ones(50), np.arange(1, 20), [0.0] * 90 + [1.0, 2.0]])
def test_bootstrap_of_few_or_equal_values_is_missing(values):
    assert np.isnan(bootstrap_limits(values, STATISTICS)["gini"]).all()


def truth_of(law, gini, variation):
    """What samples of a law estimate; the rest by quadrature over its quantiles."""
    levels = (np.arange(2_000_000) + 0.5) / 2_000_000
    values = law.ppf(levels)
    return {
        "gini": gini,
        "variation": variation,
        "top share": values[levels > 0.99].sum() / values.sum(),
        "log deviation": np.log(values).std(),
    }


TRUTH = {
    "lognormal 0.5": (math.erf(0.25), math.sqrt(math.expm1(0.25))),
    "lognormal 1": (math.erf(0.5), math.sqrt(math.expm1(1))),
    "normal": (1 / 6 / math.sqrt(math.pi), 1 / 6),
}


@pytest.mark.slow
@each_distribution
def test_bootstrap_limits_cover_as_often_as_they_say(rng, drawn):
    draw, law = DRAWN[drawn]
    truth, hits = truth_of(law, *TRUTH[drawn]), Counter()
    for k in range(1500):
        for name, (low, high) in bootstrap_limits(draw(rng, 500), STATISTICS, seed=k).items():
            hits[name] += low <= truth[name] <= high
    assert {name: 0.93 <= hit / 1500 <= 0.97 for name, hit in hits.items()} == dict.fromkeys(STATISTICS, True)
