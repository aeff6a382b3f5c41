"""AUC and what a score adds are scikit-learn's and DeLong's, and their intervals hold the truth."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from spread_cases import covered

from gradlens.stats.separation import auc, auc_gain, auc_interval, logistic_gain


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
