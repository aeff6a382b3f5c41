"""Rank correlation over images: scipy's value, and an interval that covers what it says."""

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from gradlens.stats.association import spearman_interval


def test_the_value_is_scipys_and_lies_between_its_limits(rng):
    x = rng.normal(size=300)
    y = x + rng.normal(size=300)
    rho, low, high = spearman_interval(x, y)
    assert rho == pytest.approx(spearmanr(x, y).statistic)
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
    assert spearman_interval(x, y)[0] == pytest.approx(spearmanr(x[known], y[known]).statistic)


@pytest.mark.parametrize("y", [[1, 1, 1, 1, 1], [1, 2, 3, np.nan, np.nan]])
def test_constant_values_and_too_few_have_none(y):
    assert np.isnan(spearman_interval([1, 2, 3, 4, 5], y)).all()


def test_a_perfect_order_has_no_limits():
    rho, low, high = spearman_interval(np.arange(9), np.arange(9) ** 3)
    assert rho == pytest.approx(1)
    assert math.isnan(low)
    assert math.isnan(high)
