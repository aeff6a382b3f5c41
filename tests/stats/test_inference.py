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
    relabel_max_t,
    share_greater,
    sign_flip_max_t,
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


def slow_t(x):
    return abs(x.mean()) / (x.std(ddof=1) / np.sqrt(len(x)))


def test_sign_flips_are_all_tried_with_few_images(rng):
    d = rng.normal(0.5, 1, size=(7, 3)) * [1, 10, 0.1]
    flips = [np.array(s)[:, None] * d for s in itertools.product((1, -1), repeat=7)]
    largest = np.array([max(slow_t(x) for x in f.T) for f in flips])
    wanted = [(largest >= slow_t(x) * (1 - 1e-9)).mean() for x in d.T]
    np.testing.assert_allclose(sign_flip_max_t(d), wanted, rtol=1e-12)


def test_sign_flips_of_one_measure_are_scipys_permutations(rng):
    d = rng.normal(0.4, 1, size=9)
    wanted = stats.permutation_test((d, np.zeros(9)), lambda a, b: np.mean(a - b), permutation_type="samples")
    assert sign_flip_max_t(d[:, None]) == pytest.approx(wanted.pvalue)


def test_random_sign_flips_agree_with_all_of_them(rng):
    d = rng.normal(0.45, 1, size=(12, 4))
    every, some = sign_flip_max_t(d, flips=4096), sign_flip_max_t(d, flips=4000)
    assert not np.array_equal(every, some)
    np.testing.assert_allclose(some, every, atol=4 * np.sqrt(0.25 / 4000))


def test_sign_flips_repeat_by_seed_and_do_not_see_units_or_signs(rng):
    d = rng.normal(0.1, 1, size=(300, 5))
    assert np.array_equal(sign_flip_max_t(d), sign_flip_max_t(-1e-7 * d))
    assert not np.array_equal(sign_flip_max_t(d), sign_flip_max_t(d, seed=1))
    assert sign_flip_max_t(np.empty((300, 0))).shape == (0,)


def test_missing_differences_are_left_out_of_their_column_only(rng):
    d = rng.normal(0.6, 1, size=(10, 2))
    half = d.copy()
    half[:4, 1] = np.nan
    short = sign_flip_max_t(half)
    assert short[0] == pytest.approx(sign_flip_max_t(d)[0], abs=0.1)
    assert sign_flip_max_t(half[:, 1:]) == pytest.approx(sign_flip_max_t(d[4:, 1:]))


def test_relabelling_tries_every_way_with_few_runs(rng):
    values, second = 3 + rng.normal(size=(7, 3)) * [1, 50, 1e-3], np.array([0, 0, 1, 1, 0, 1, 0], bool)

    def statistic(chosen):
        return [abs(stats.ttest_ind(x[chosen], x[~chosen]).statistic) for x in values.T]

    ways = [np.isin(range(7), c) for c in itertools.combinations(range(7), 3)]
    largest = np.array([max(statistic(w)) for w in ways])
    wanted = [(largest >= own * (1 - 1e-9)).mean() for own in statistic(second)]
    np.testing.assert_allclose(relabel_max_t(values, second), wanted, rtol=1e-12)


@pytest.mark.parametrize(("seeds", "least"), [(2, 2 / 6), (3, 0.1), (5, 2 / 252)])
def test_relabelling_knows_how_little_few_seeds_can_say(seeds, least):
    values = np.r_[np.arange(seeds), 100 + np.arange(seeds)][:, None]
    assert relabel_max_t(values, np.arange(2 * seeds) >= seeds) == pytest.approx(least)


def test_random_relabellings_agree_with_all_of_them(rng):
    values, second = rng.normal(size=(12, 4)), np.arange(12) >= 6
    values[second, 0] += 1.5
    np.testing.assert_allclose(
        relabel_max_t(values, second, relabellings=900), relabel_max_t(values, second, 924), atol=0.07
    )


def share_within(trials, count):
    """Bounds on a share of trials that is 5 % in truth: four standard errors."""
    return 0.05 - 4 * np.sqrt(0.05 * 0.95 / trials), 0.05 + 4 * np.sqrt(0.05 * 0.95 / trials), count / trials


def test_holm_keeps_the_family_wise_error(rng):
    trials = 4000
    wrong = sum((holm(p) <= 0.05).any() for p in rng.random((trials, 5)))
    low, high, found = share_within(trials, wrong)
    assert low < found < high


def test_max_t_keeps_the_family_wise_error_where_bonferroni_wastes_it(rng):
    trials, n, k = 500, 30, 20
    found = {0.0: 0, 0.95: 0}
    for shared in found:
        for trial in range(trials):
            d = np.sqrt(shared) * rng.normal(size=(n, 1)) + np.sqrt(1 - shared) * rng.normal(size=(n, k))
            found[shared] += (sign_flip_max_t(d, flips=199, seed=trial) <= 0.05).any()
    for count in found.values():
        low, high, rate = share_within(trials, count)
        assert low < rate < high


def test_relabelling_keeps_the_family_wise_error(rng):
    trials, second = 1000, np.arange(10) >= 5
    wrong = sum((relabel_max_t(rng.normal(size=(10, 20)), second) <= 0.05).any() for _ in range(trials))
    low, high, found = share_within(trials, wrong)
    assert low < found < high


def test_a_planted_effect_is_found_among_many_measures(rng):
    d = rng.normal(size=(200, 60))
    d[:, 7] += 0.4
    p = sign_flip_max_t(d)
    assert p[7] == 1 / 2001
    assert (np.delete(p, 7) > 0.05).all()


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
