import itertools
import math
from collections import Counter

import numpy as np
import pytest
import reference
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from gradlens.stats.intervals import (
    LOG,
    LOGIT,
    Statistic,
    bootstrap_limits,
    mean_interval,
    quantile_interval,
    quantile_ratio_interval,
    share_interval,
)
from gradlens.stats.separation import auc, auc_gain, auc_interval, logistic_gain
from gradlens.stats.tails import (
    coefficient_of_variation,
    expected_at,
    gini,
    gini_estimate,
    log_deviation,
    log_deviation_estimate,
    tail_index,
    top_share,
    top_share_estimate,
    variance_shares,
    variation_estimate,
)

SPREAD = {
    "gini": (gini, Statistic(gini_estimate, LOGIT)),
    "variation": (coefficient_of_variation, Statistic(variation_estimate, LOG)),
    "top share": (top_share, Statistic(top_share_estimate, LOGIT)),
    "log deviation": (log_deviation, Statistic(log_deviation_estimate, LOG)),
}
STATISTICS = {name: statistic for name, (_, statistic) in SPREAD.items()}
each_spread = pytest.mark.parametrize("name", SPREAD)


def slow_top_share(values):
    """1 − L(0.99), with the Lorenz curve through the points (k/n, Σ of the k smallest / Σ)."""
    x = np.sort(values)
    curve = np.concatenate([[0], np.cumsum(x)]) / x.sum()
    return 1 - np.interp(0.99, np.arange(len(x) + 1) / len(x), curve)


# --- spread


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


# --- at a fixed size


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


# --- tail index


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


# --- composition


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


# --- separation


@pytest.mark.parametrize("levels", [2, 5, 10_000])
def test_auc_with_ties_is_scikit_learns(rng, levels):
    score, positive = rng.integers(levels, size=300), rng.random(300) < 0.3
    assert auc(score, positive) == pytest.approx(roc_auc_score(positive, score), rel=1e-12)


def test_auc_is_the_share_of_pairs_won(rng):
    score, positive = rng.integers(6, size=40), rng.random(40) < 0.5
    assert auc(score, positive) == pytest.approx(np.mean(won(score, positive)), rel=1e-12)


def won(score, positive):
    """Of every pair, 1 where the positive is above, ½ where both are equal: ``(m, n)``."""
    up, down = np.asarray(score)[positive][:, None], np.asarray(score)[~positive]
    return (up > down) + (up == down) / 2


def slow_variance(pairs):
    """DeLong's variance of a mean of pairs: that of the rows' means over m plus that of the columns' over n."""
    m, n = pairs.shape
    return np.var(pairs.mean(1), ddof=1) / m + np.var(pairs.mean(0), ddof=1) / n


def test_auc_of_a_single_group_is_missing():
    for empty in ([True] * 3, [False] * 3):
        assert np.isnan(auc([1, 2, 3], empty))
        assert np.isnan(auc_interval([1, 2, 3], empty)).all()
        assert np.isnan(auc_gain([1, 2, 3], [3, 1, 2], empty)).all()
        assert np.isnan(logistic_gain([1, 2, 3], [3, 1, 2], empty))


def test_auc_leaves_missing_scores_out():
    assert auc([1, np.nan, 3, np.nan], [False, True, True, False]) == 1


@pytest.fixture
def two_scores(rng):
    """Two related scores with ties and the groups that they tell a little."""
    positive = rng.random(160) < 0.3
    shared = rng.normal(size=160) + positive
    return np.round(shared + rng.normal(size=160), 1), np.round(shared + 2 * rng.normal(size=160), 1), positive


def test_auc_interval_is_delongs(two_scores):
    score, _, positive = two_scores
    area, low, high = auc_interval(score, positive)
    assert area == pytest.approx(roc_auc_score(positive, score), rel=1e-12)
    half = 1.959964 * math.sqrt(slow_variance(won(score, positive))) / (area * (1 - area))
    logit = math.log(area / (1 - area))
    assert low == pytest.approx(1 / (1 + math.exp(half - logit)), rel=1e-6)
    assert high == pytest.approx(1 / (1 + math.exp(-half - logit)), rel=1e-6)


def test_auc_gain_is_delongs(two_scores):
    score, other, positive = two_scores
    gain, low, high, p = auc_gain(score, other, positive)
    assert gain == pytest.approx(auc(score, positive) - auc(other, positive), rel=1e-12)
    error = math.sqrt(slow_variance(won(score, positive) - won(other, positive)))
    np.testing.assert_allclose([low, high], [gain - 1.959964 * error, gain + 1.959964 * error], rtol=1e-6)
    assert p == pytest.approx(2 * stats.norm.sf(abs(gain) / error), rel=1e-9)
    assert auc_gain(other, score, positive)[:3] == pytest.approx((-gain, -high, -low), rel=1e-9)


def test_auc_interval_and_gain_are_as_wide_as_the_bootstraps(two_scores, rng):
    score, other, positive = two_scores
    draws = []
    for _ in range(1000):
        rows = np.concatenate([rng.choice(np.flatnonzero(g), g.sum()) for g in (positive, ~positive)])
        draws.append([auc(s[rows], positive[rows]) for s in (score, other)])
    areas = np.array(draws)
    _, low, high = auc_interval(score, positive)
    assert (high - low) / 3.92 == pytest.approx(areas[:, 0].std(), rel=0.1)
    _, low, high, _ = auc_gain(score, other, positive)
    assert (high - low) / 3.92 == pytest.approx((areas[:, 0] - areas[:, 1]).std(), rel=0.1)


def test_auc_gain_is_of_the_images_that_have_both(two_scores):
    score, other, positive = two_scores
    holes = score.copy(), other.copy()
    holes[0][:30], holes[1][20:40] = np.nan, np.inf
    assert auc_gain(*holes, positive) == auc_gain(score[40:], other[40:], positive[40:])


@pytest.mark.parametrize("change", [lambda s: s, np.exp, lambda s: 3 * s - 2])
def test_equal_rankings_gain_nothing(two_scores, change):
    score, _, positive = two_scores
    gain, low, high, p = auc_gain(change(score), score, positive)
    assert gain == 0
    assert np.isnan([low, high, p]).all()


@pytest.mark.parametrize("score", [[0, 1, 2, 3], [1, 1, 1, 1], [3, 2, 1, 0]])
def test_auc_without_variance_has_no_interval(score):
    area, low, high = auc_interval(score, [False, False, True, True])
    assert area in (0, 0.5, 1)
    assert np.isnan([low, high]).all()


def test_auc_of_one_positive_has_no_interval(rng):
    area, low, high = auc_interval(rng.random(9), np.arange(9) == 4)
    assert 0 <= area <= 1
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize("area", [0.7, 0.8, 0.95])
def test_auc_interval_covers_as_often_as_it_says(rng, area):
    positive, shift = np.arange(500) < 120, math.sqrt(2) * stats.norm.ppf(area)
    found = [auc_interval(x + shift * positive, positive) for x in rng.normal(size=(1500, 500))]
    assert covered(found, area) == pytest.approx(0.95, abs=0.02)


def test_auc_gain_covers_as_often_as_it_says_and_rarely_errs(rng):
    positive = np.arange(500) < 120
    shift = math.sqrt(2) * stats.norm.ppf(np.array([0.85, 0.78, 0.85]))
    shared = rng.normal(size=(1500, 1, 500))
    scores = (shared + rng.normal(size=(1500, 3, 500))) / math.sqrt(2) + shift[:, None] * positive
    gains = [auc_gain(a, b, positive) for a, b, _ in scores]
    assert covered([g[:3] for g in gains], 0.07) == pytest.approx(0.95, abs=0.02)
    assert np.mean([auc_gain(a, c, positive).p < 0.05 for a, _, c in scores]) == pytest.approx(0.05, abs=0.02)


def slow_r2(design, positive):
    """McFadden's R² of an unpenalised logistic fit by scikit-learn."""
    fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(design, positive)
    nothing = log_loss(positive, np.full(len(positive), positive.mean()))
    return 1 - log_loss(positive, fit.predict_proba(design)[:, 1]) / nothing


def test_logistic_gain_is_the_difference_of_two_fits(two_scores):
    score, other, positive = two_scores
    expected = slow_r2(np.stack([other, score], 1), positive) - slow_r2(other[:, None], positive)
    assert expected > 0.02
    assert logistic_gain(score, other, positive) == pytest.approx(expected, abs=1e-6)
    assert logistic_gain(1e9 * score - 5, other / 1e9, positive) == pytest.approx(expected, abs=1e-6)


def test_logistic_gain_of_the_same_again_is_zero(two_scores):
    score, _, positive = two_scores
    assert logistic_gain(2 * score + 1, score, positive) == pytest.approx(0, abs=1e-8)


def test_logistic_gain_may_know_several_scores(two_scores, rng):
    score, other, positive = two_scores
    third = rng.normal(size=160) + positive
    expected = slow_r2(np.stack([other, third, score], 1), positive) - slow_r2(np.stack([other, third], 1), positive)
    assert logistic_gain(score, [other, third], positive) == pytest.approx(expected, abs=1e-6)
    assert logistic_gain(other - 3 * third, [other, third], positive) == pytest.approx(0, abs=1e-8)


def test_logistic_gain_of_noise_is_small(rng):
    positive = rng.random(5000) < 0.3
    known = rng.normal(size=5000) + positive
    assert 0 <= logistic_gain(rng.normal(size=5000), known, positive) < 1e-3


@pytest.mark.parametrize(
    ("score", "other"),
    [
        ([1, 2, 3, 4, 5, 6], [3, 1, 2, 2, 3, 1]),
        ([1, 2, 3, 3, 4, 5], [3, 1, 2, 2, 3, 1]),
        ([3, 1, 2, 2, 3, 1], [1, 2, 3, 4, 5, 6]),
        ([1, 2, 4, 4, 5, 7], [1, 0, 2, 1, 2, 4]),
        ([2, 2, 2, 2, 2, 2], [3, 1, 2, 2, 3, 1]),
    ],
    ids=["complete", "touching", "by the other", "only together", "constant"],
)
def test_logistic_gain_where_no_fit_exists_is_missing(score, other):
    assert np.isnan(logistic_gain(score, other, [False, False, False, True, True, True]))


# --- intervals


def covered(intervals, truth):
    """The share of ``(estimate, low, high)`` that hold the truth."""
    _, low, high = np.transpose(intervals)
    return ((low <= truth) & (truth <= high)).mean()


def test_interval_is_students(rng):
    x = rng.normal(3, 2, 50)
    low, high = stats.t.interval(0.9, 49, x.mean(), stats.sem(x))
    np.testing.assert_allclose(mean_interval(x, 0.9), (x.mean(), low, high), rtol=1e-12)


@pytest.mark.parametrize("sigma", [0.5, 1.0])
def test_interval_covers_the_mean_as_often_as_it_says(rng, sigma):
    found = [mean_interval(x) for x in rng.lognormal(0, sigma, size=(3000, 500))]
    assert 0.93 <= covered(found, math.exp(sigma**2 / 2)) <= 0.97


def test_interval_needs_two_values():
    assert np.isnan(mean_interval([])).all()
    mean, low, high = mean_interval([4.0, np.nan])
    assert mean == 4
    assert np.isnan([low, high]).all()


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (7, 7), (3, 11), (412, 500)])
@pytest.mark.parametrize("level", [0.95, 0.8])
def test_share_interval_is_wilsons(successes, trials, level):
    expected = stats.binomtest(successes, trials).proportion_ci(level, method="wilson")
    np.testing.assert_allclose(
        share_interval(successes, trials, level), (successes / trials, *expected), rtol=1e-9, atol=1e-12
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
