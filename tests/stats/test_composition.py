"""Shares have log-ratios, ratios with intervals, and one distance from even, whichever channel comes first."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multivariate import test_mvmean as hotelling

from gradlens.stats.composition import centred_log_ratios, geometric_ratio, isometric_log_ratios, mean_distance, perturb


@pytest.fixture
def shares(rng):
    """500 images whose channels are unlike each other."""
    return rng.dirichlet([20, 30, 15], 500)


def test_centred_log_ratios_are_logs_over_the_geometric_mean(shares):
    expected = np.log(shares / stats.gmean(shares, axis=1)[:, None])
    np.testing.assert_allclose(centred_log_ratios(shares), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("row", [[0.5, 0.5, 0], [0, 0, 1], [np.nan, 0.5, 0.5], [np.nan] * 3])
def test_a_zero_or_missing_share_has_no_log_ratio(row, shares):
    found = centred_log_ratios([row, shares[0]])
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1]).all()


def test_isometric_coordinates_keep_every_distance(shares):
    centred, coordinates = centred_log_ratios(shares), isometric_log_ratios(shares)
    assert coordinates.shape == (500, 2)
    np.testing.assert_allclose(
        np.linalg.norm(coordinates[:, None] - coordinates, axis=2),
        np.linalg.norm(centred[:, None] - centred, axis=2),
        rtol=0,
        atol=1e-12,
    )


def test_distance_is_mahalanobis_of_hotellings_test(shares):
    x = isometric_log_ratios(shares)
    n, p = x.shape
    mean = sum(x) / n
    scatter = sum(np.outer(row - mean, row - mean) for row in x) / (n - 1)
    t_squared = hotelling(x, np.zeros(p)).statistic * p * (n - 1) / (n - p)
    assert mean_distance(x)[0] == pytest.approx(np.sqrt(mean @ np.linalg.inv(scatter) @ mean))
    assert mean_distance(x)[0] == pytest.approx(np.sqrt(t_squared / n))


def test_distance_of_one_column_is_students_t(rng):
    x = rng.normal(0.2, 1, (40, 1))
    assert mean_distance(x)[0] == pytest.approx(abs(stats.ttest_1samp(x[:, 0], 0).statistic) / np.sqrt(40))


@pytest.mark.parametrize("order", [[1, 2, 0], [2, 1, 0]])
def test_distance_does_not_care_which_channel_comes_first(order, shares):
    np.testing.assert_allclose(
        mean_distance(isometric_log_ratios(shares[:, order])), mean_distance(isometric_log_ratios(shares)), rtol=1e-9
    )


def test_distance_does_not_care_for_the_coordinates_basis(shares, rng):
    x = isometric_log_ratios(shares)
    np.testing.assert_allclose(mean_distance(x @ rng.normal(size=(2, 2))), mean_distance(x), rtol=1e-9)


DRAWS = {
    "normal": lambda rng, n: rng.normal(size=(n, 2)),
    "skewed": lambda rng, n: rng.exponential(size=(n, 2)) - 1,
    "heavy tailed": lambda rng, n: rng.standard_t(5, size=(n, 2)) / np.sqrt(5 / 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("distance", [0.1, 0.5, 1.0])
def test_distances_interval_covers_as_often_as_it_says(draw, distance, rng):
    found = [mean_distance(draw(rng, 500) + distance * np.array([0.6, 0.8])) for _ in range(3000)]
    assert 0.93 <= np.mean([low <= distance <= high for _, low, high in found]) <= 0.97


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("distance", [0.5, 2.0])
def test_distances_interval_covers(draw, distance, rng):
    found = [mean_distance(draw(rng, 500) + distance * np.array([0.6, 0.8])) for _ in range(200)]
    # Of 200 intervals of 95 %, fewer than 176 or all of them once in some ten thousand times.
    assert 176 <= sum(low <= distance <= high for _, low, high in found) < 200


def test_distance_of_no_asymmetry_may_be_zero(rng):
    found = [mean_distance(rng.normal(size=(500, 2))) for _ in range(200)]
    assert np.mean([low == 0 for _, low, _ in found]) > 0.9
    assert all(low <= distance and high >= 0 for distance, low, high in found)


@pytest.mark.parametrize(
    "shares",
    [np.full((50, 3), 1 / 3), np.tile([0.2, 0.5, 0.3], (50, 1)), [[0.2, 0.5, 0.3], [0.3, 0.4, 0.3]], np.empty((0, 3))],
    ids=["even", "constant", "two images", "none"],
)
def test_shares_that_do_not_vary_have_no_distance(shares):
    assert np.isnan(mean_distance(isometric_log_ratios(shares))).all()


def test_rounding_is_not_variation(rng):
    constant = np.array([0.2, 0.5, 0.3]) * (1 + 1e-7 * rng.normal(size=(50, 3)))
    assert np.isnan(mean_distance(isometric_log_ratios(constant))).all()


def test_missing_rows_are_left_out(shares):
    some = np.concatenate([shares, [[0, 0.5, 0.5], [np.nan] * 3]])
    assert mean_distance(isometric_log_ratios(some)) == mean_distance(isometric_log_ratios(shares))
    assert geometric_ratio(some[:, 1], some[:, 0]) == geometric_ratio(shares[:, 1], shares[:, 0])


def test_ratio_is_geometric_with_students_interval(shares):
    ratio = shares[:, 1] / shares[:, 0]
    t = stats.ttest_1samp(np.log(ratio), 0).confidence_interval(0.95)
    np.testing.assert_allclose(
        geometric_ratio(shares[:, 1], shares[:, 0]), [stats.gmean(ratio), np.exp(t.low), np.exp(t.high)], rtol=1e-12
    )


def test_ratio_read_the_other_way_is_the_reciprocal(shares):
    value, low, high = geometric_ratio(shares[:, 0], shares[:, 2])
    np.testing.assert_allclose(geometric_ratio(shares[:, 2], shares[:, 0]), [1 / value, 1 / high, 1 / low], rtol=1e-12)


def test_another_unit_shifts_log_ratios_and_nothing_else(shares):
    weight = np.array([0.229, 0.224, 0.225])
    found = perturb(shares, weight)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)
    shift = centred_log_ratios(found) - centred_log_ratios(shares)
    np.testing.assert_allclose(shift, np.tile(centred_log_ratios([weight]), (500, 1)), rtol=0, atol=1e-12)
