"""Tests, effect sizes and corrections against definitions, scipy and simulation under known truth."""

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from gradlens.stats.inference import (
    crossed_t,
    d_z,
    hedges_g,
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


def test_holm_of_welch_keeps_the_family_wise_error_over_five_seeds(rng):
    """At most 0.08, where permuted labels err at 0.18: spreads of one to four. ``analyses/calibration.py`` has more."""
    trials, wrong = 300, 0
    for _ in range(trials):
        a, b = (rng.normal(0, s, (5, 10)) for s in (1, 4))
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


def slow_crossed(a, b, level=0.95):
    """The crossed interval of one column, written from its mean squares."""
    n, variance, terms = len(a[0]), {"seeds": 0.0, "rest": 0.0}, []
    for group in (a, b):
        grand = np.mean(group)
        seeds = [np.mean(run) for run in group]
        v = sum((m - grand) ** 2 for m in seeds) / (len(group) - 1) / len(group)
        rest = sum(
            (run[i] - seeds[s] - np.mean([r[i] for r in group]) + grand) ** 2
            for s, run in enumerate(group)
            for i in range(n)
        )
        w = rest / (len(group) - 1) / (n - 1) / len(group) / n
        variance["seeds"] += v
        variance["rest"] += w
        terms += [(v, len(group) - 1), (w, (len(group) - 1) * (n - 1))]
    d = np.array([np.mean([r[i] for r in b]) - np.mean([r[i] for r in a]) for i in range(n)])
    images = sum((d - d.mean()) ** 2) / (n - 1) / n
    terms.append((images, n - 1))
    total = max(variance["seeds"] + images - variance["rest"], variance["seeds"], images)
    df = total**2 / sum(v**2 / f for v, f in terms)
    half = stats.t.ppf((1 + level) / 2, df) * np.sqrt(total)
    return d.mean(), d.mean() - half, d.mean() + half


@pytest.mark.parametrize(("seeds", "over_images"), [((5, 5), 1.0), ((2, 7), 0.0), ((3, 4), 0.2)])
def test_the_crossed_interval_is_its_definition(rng, seeds, over_images):
    a, b = methods(rng, max(seeds), 30, over_images, 0.3)
    a, b = a[: seeds[0]], b[: seeds[1]]
    found = crossed_t(a, b)
    assert len(found) == 1
    np.testing.assert_allclose(found[0][:3], slow_crossed(*([r[:, 0] for r in g] for g in (a, b))), rtol=1e-9)


def coverage(rng, trials=400, **truth):
    """How often t over seeds crossed with images, and t over the seeds' means, hold the true difference of 0."""
    hits = np.zeros(2)
    for _ in range(trials):
        a, b = methods(rng, **truth)
        estimate = welch_t([x.mean() for x in a], [x.mean() for x in b])
        hits += covers(crossed_t(a, b)[0], 0), covers(estimate, 0)
    return hits / trials


@pytest.mark.parametrize("over_images", [0.0, 0.5, 1.0])
def test_the_crossed_interval_speaks_of_new_seeds_and_new_images(rng, over_images):
    crossed, over_seeds = coverage(rng, seeds=5, images=100, over_images=over_images, over_seeds=0.1)
    # Four standard errors of 400 trials about the 93 to 98 % that it is to cover.
    assert 0.93 - 0.051 < crossed < 0.98 + 0.028
    assert (over_seeds < 0.88) == (over_images == 1)


def test_images_that_miss_a_column_are_left_out_of_it_alone(rng):
    a, b = ([x.repeat(2, 1) for x in group] for group in methods(rng, seeds=3, images=50))
    a[1][10:, 1] = np.nan
    whole, part = crossed_t(a, b)
    assert whole == crossed_t(*([x[:, :1] for x in g] for g in (a, b)))[0]
    assert part == crossed_t(*([x[:10, 1:] for x in g] for g in (a, b)))[0]


def test_the_crossed_interval_needs_two_seeds_and_two_images(rng):
    (a, b), one = methods(rng, seeds=2, images=5), methods(rng, seeds=1, images=5)[0]
    for first, second in ((a, one), ([x[:1] for x in a], [x[:1] for x in b]), ([x * np.nan for x in a], b)):
        assert np.isnan(crossed_t(first, second)[0][1:]).all()
    flat = [np.ones((5, 1))] * 2
    assert np.isnan(crossed_t(flat, flat)[0].low)
