import numpy as np
import pytest
import reference
from scipy import stats
from sklearn.metrics import roc_auc_score

from gradlens._statistics.intervals import mean_interval
from gradlens._statistics.separation import auc
from gradlens._statistics.tails import gini


@pytest.mark.parametrize("values", [[1, 1, 1], [0, 0, 5], [3, 1, 4, 1, 5, 9, 2.6], np.geomspace(1e-6, 1e3, 60)])
def test_gini_is_the_mean_difference_of_pairs(values):
    np.testing.assert_allclose(gini(values), reference.gini(values), rtol=1e-12, atol=1e-15)


def test_gini_runs_from_equality_to_one_holder():
    assert gini(np.full(100, 0.3)) == pytest.approx(0, abs=1e-12)
    assert gini([0] * 99 + [7]) == pytest.approx(0.99)


def test_gini_ignores_scale_and_order(rng):
    x = rng.lognormal(size=200)
    assert gini(1e-20 * rng.permutation(x)) == pytest.approx(gini(x), rel=1e-12)


@pytest.mark.parametrize("values", [[], [0, 0], [1, np.nan]])
def test_gini_of_nothing_is_missing(values):
    assert np.isnan(gini(values))


@pytest.mark.parametrize("levels", [2, 5, 10_000])
def test_auc_with_ties_is_scikit_learns(rng, levels):
    score, positive = rng.integers(levels, size=300), rng.random(300) < 0.3
    assert auc(score, positive) == pytest.approx(roc_auc_score(positive, score), rel=1e-12)


def test_auc_is_the_share_of_pairs_won(rng):
    score, positive = rng.integers(6, size=40), rng.random(40) < 0.5
    up, down = score[positive][:, None], score[~positive]
    assert auc(score, positive) == pytest.approx(((up > down) + (up == down) / 2).mean(), rel=1e-12)


def test_auc_of_a_single_group_is_missing():
    assert np.isnan(auc([1, 2, 3], [True] * 3))
    assert np.isnan(auc([1, 2, 3], [False] * 3))


def test_auc_leaves_missing_scores_out():
    assert auc([1, np.nan, 3, np.nan], [False, True, True, False]) == 1


def test_interval_is_students(rng):
    x = rng.normal(3, 2, 50)
    low, high = stats.t.interval(0.9, 49, x.mean(), stats.sem(x))
    np.testing.assert_allclose(mean_interval(x, 0.9), (x.mean(), low, high), rtol=1e-12)


def test_interval_covers_the_mean_as_often_as_it_says(rng):
    draws = rng.exponential(size=(2000, 200))
    inside = [low <= 1 <= high for _, low, high in map(mean_interval, draws)]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


def test_interval_needs_two_values():
    assert np.isnan(mean_interval([])).all()
    mean, low, high = mean_interval([4.0, np.nan])
    assert mean == 4
    assert np.isnan([low, high]).all()
