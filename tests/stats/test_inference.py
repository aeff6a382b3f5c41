"""Tests, effect sizes and corrections against definitions, scipy and simulation under known truth."""

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from gradlens.stats.inference import (
    d_z,
    hedges_g,
    hierarchical_bootstrap,
    holm,
    paired_t,
    share_greater,
    welch_t,
)


@pytest.mark.parametrize(("n", "level"), [(2, 0.95), (40, 0.95), (40, 0.8)])
def test_paired_t_is_students(rng, n, level):
    x = rng.exponential(size=n) - 0.7
    mean, error = x.mean(), x.std(ddof=1) / np.sqrt(n)
    half, p = stats.t.ppf((1 + level) / 2, n - 1) * error, 2 * stats.t.sf(abs(mean) / error, n - 1)
    np.testing.assert_allclose(paired_t(x, level), (mean, mean - half, mean + half, p), rtol=1e-12, atol=0)
    assert paired_t([*x, np.nan]) == paired_t(x)


@pytest.mark.parametrize(("n", "m"), [(5, 5), (2, 9), (7, 3)])
def test_welch_t_is_scipys(rng, n, m):
    a, b = rng.normal(size=n), rng.normal(0.5, 3, size=m)
    wanted = stats.ttest_ind(b, a, equal_var=False)
    np.testing.assert_allclose(
        welch_t(a, b), (b.mean() - a.mean(), *wanted.confidence_interval(0.95), wanted.pvalue), rtol=1e-10
    )


def test_what_cannot_be_estimated_is_missing():
    for estimate in (paired_t([]), paired_t([3.0]), paired_t([0.1 + 0.2, 0.3]), welch_t([1, 2], [3]), welch_t([], [])):
        assert np.isnan([estimate.low, estimate.high, estimate.p]).all()
    assert paired_t([3.0]).value == 3
    assert welch_t([1, 2], [3]).value == 1.5
    assert np.isnan(
        [d_z([2, 2, 2]), d_z([1]), hedges_g([1, 1], [2, 2]), hedges_g([1], [2, 3]), share_greater([])]
    ).all()


def test_one_group_without_spread_still_has_an_interval():
    estimate = welch_t([1, 1, 1], [2, 3, 4])
    np.testing.assert_allclose(estimate[1:], (*stats.t.interval(0.95, 2, 2, 1 / np.sqrt(3)), 0.0741799), rtol=1e-6)


def test_effect_sizes_are_their_definitions():
    a, b = np.array([1.0, 2, 3, 5]), np.array([2.0, 2, 7, 4])
    assert d_z(b - a) == pytest.approx(1 / np.std([1, 0, 4, -1], ddof=1))
    assert share_greater(b - a) == (2 + 0.5) / 4
    pooled = np.sqrt((3 * a.var(ddof=1) + 3 * b.var(ddof=1)) / 6)
    assert hedges_g(a, b) == pytest.approx((1 - 3 / 23) * (b.mean() - a.mean()) / pooled)


def test_hedges_g_is_unbiased_for_few_values(rng):
    found = [hedges_g(rng.normal(size=4), rng.normal(1, 1, 4)) for _ in range(4000)]
    assert np.mean(found) == pytest.approx(1, abs=0.05)


def test_holm_by_hand():
    # 0.005·4, 0.01·3, 0.03·2, then no smaller than the one before.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.9]), [0.02, np.nan, 0.9])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1, 1])
    assert len(holm([])) == 0


def test_holm_is_the_closure_of_bonferroni(rng):
    p = rng.random(5) ** 3
    for k, adjusted in enumerate(holm(p)):
        sets = [s for r in range(1, 6) for s in itertools.combinations(range(5), r) if k in s]
        assert adjusted == pytest.approx(max(min(1, len(s) * min(p[list(s)])) for s in sets))


def test_holm_is_statsmodels(rng):
    p = rng.random(20) ** 4
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=1e-12)


def share_within(trials, count):
    """Bounds on a share of trials that is 5 % in truth: four standard errors."""
    return 0.05 - 4 * np.sqrt(0.05 * 0.95 / trials), 0.05 + 4 * np.sqrt(0.05 * 0.95 / trials), count / trials


def test_holm_keeps_the_family_wise_error(rng):
    trials = 4000
    wrong = sum((holm(p) <= 0.05).any() for p in rng.random((trials, 5)))
    low, high, found = share_within(trials, wrong)
    assert low < found < high


@pytest.mark.parametrize("spreads", [(1, 1), (1, 4), (4, 1)])
def test_holm_of_welch_keeps_the_family_wise_error_over_five_seeds(rng, spreads):
    """Where permuted labels err at 0.18 (statistics of groups whose spreads differ), at most 0.08."""
    trials, wrong = 1000, 0
    for _ in range(trials):
        a, b = (rng.normal(0, s, (5, 10)) for s in spreads)
        wrong += (holm([welch_t(x, y).p for x, y in zip(a.T, b.T, strict=True)]) <= 0.05).any()
    assert wrong / trials < 0.08 + 3 * np.sqrt(0.08 * 0.92 / trials)


def covers(estimate, truth):
    return estimate[1] <= truth <= estimate[2]


def test_paired_interval_covers_as_often_as_it_says(rng):
    trials = 2000
    # Skewed and correlated, as gradient norms are.
    a = rng.lognormal(size=(trials, 500))
    b = 0.8 * a + rng.exponential(size=(trials, 500))
    truth = 1 - 0.2 * np.exp(0.5)
    assert 0.93 < np.mean([covers(paired_t(d), truth) for d in b - a]) < 0.97


@pytest.mark.parametrize(("sizes", "spreads"), [((5, 5), (1, 1)), ((5, 5), (1, 3)), ((8, 4), (1, 2))])
def test_interval_over_seeds_covers_as_often_as_it_says(rng, sizes, spreads):
    a, b = (rng.normal(0, s, (3000, n)) for n, s in zip(sizes, spreads, strict=True))
    assert 0.93 < np.mean([covers(welch_t(x, y), 0) for x, y in zip(a, b, strict=True)]) < 0.97


def methods(rng, seeds, images, over_images=0.0, over_seeds=0.0):
    """Two groups of runs without a difference; images may favour a group, seeds may be better than others."""
    favour = over_images * rng.normal(size=(2, images, 1))
    return [[f + over_seeds * rng.normal() + rng.normal(size=(images, 1)) for _ in range(seeds)] for f in favour]


def coverage(rng, trials=300, **truth):
    """How often the hierarchical bootstrap and t over the seeds' means hold the true difference of 0."""
    hits = np.zeros(2)
    for trial in range(trials):
        a, b = methods(rng, **truth)
        low, high = hierarchical_bootstrap(a, b, draws=400, seed=trial)
        estimate = welch_t([x.mean() for x in a], [x.mean() for x in b])
        hits += low[0] <= 0 <= high[0], covers(estimate, 0)
    return hits / trials


def test_only_the_bootstrap_speaks_of_new_images(rng):
    bootstrap, over_seeds = coverage(rng, seeds=5, images=100, over_images=1.0, over_seeds=0.1)
    assert 0.91 < bootstrap < 0.99
    assert over_seeds < 0.9


def test_the_bootstrap_is_too_narrow_with_few_seeds_as_its_page_says(rng):
    few, t_of_few = coverage(rng, seeds=3, images=30, over_seeds=1.0)
    many, _ = coverage(rng, seeds=25, images=30, over_seeds=1.0)
    assert few < 0.9
    assert 0.91 < many < 0.99
    assert 0.91 < t_of_few < 0.99


def test_the_bootstraps_width_is_that_of_the_design(rng):
    a, b = methods(rng, seeds=40, images=400, over_seeds=0.5, over_images=0.7)
    low, high = hierarchical_bootstrap(a, b, draws=4000)
    # Between seeds, between images, and of every look.
    variance = 2 * (0.5**2 / 40 + 0.7**2 / 400 + 1 / (40 * 400))
    assert high[0] - low[0] == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.25)


def test_blocks_of_images_vary_as_images_do_in_whatever_order_they_come(rng, monkeypatch):
    a, b = methods(rng, seeds=4, images=900, over_images=1.0)
    order = np.argsort((np.mean(b, axis=0) - np.mean(a, axis=0))[:, 0])
    a, b = ([run[order] for run in group] for group in (a, b))
    alone = hierarchical_bootstrap(a, b, draws=4000)
    monkeypatch.setattr("gradlens.stats.inference.BLOCKS", 300)
    np.testing.assert_allclose(np.subtract(*hierarchical_bootstrap(a, b, draws=4000)), np.subtract(*alone), rtol=0.15)


def test_the_bootstrap_leaves_out_images_that_miss_a_column(rng):
    a, b = ([x.repeat(2, 1) for x in group] for group in methods(rng, seeds=3, images=50))
    a[1][10:, 1] = np.nan
    low, high = hierarchical_bootstrap(a, b)
    kept = [[x[:10, 1:] for x in group] for group in (a, b)]
    own = hierarchical_bootstrap(*kept)
    np.testing.assert_allclose(high[1] - low[1], own[1] - own[0], rtol=0.2)
    assert high[0] - low[0] < high[1] - low[1]


def test_the_bootstrap_needs_two_seeds_and_two_images(rng):
    (a, b), one = methods(rng, seeds=2, images=5), methods(rng, seeds=1, images=5)[0]
    assert np.isnan(hierarchical_bootstrap(a, one)).all()
    assert np.isnan(hierarchical_bootstrap([x[:1] for x in a], [x[:1] for x in b])).all()
    a[0][:] = np.nan
    assert np.isnan(hierarchical_bootstrap(a, b)).all()
