"""Tallies of parts merge in any order to the same bits, and keep their digits."""

import copy
from fractions import Fraction
from functools import reduce
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from gradlens.core.types import UserError
from gradlens.stats.tallies import Covariance, Histogram, Moments, PerClass

CLASSES, UNITS, ROWS = 4, 3, 2


def per_class(rng):
    tally = PerClass(CLASSES, np.array([1.0, 0.3, 50.0]))
    values = rng.lognormal(size=(50, UNITS)).astype(np.float32) * [1, 0.1, 20]
    tally.update(values, rng.integers(-1, CLASSES, 50))
    return tally


def histogram(rng):
    tally = Histogram(ROWS)
    tally.update(rng.integers(99, size=(ROWS, Histogram.BINS + 2)), rng.integers(9, size=ROWS), rng.integers(9, size=2))
    return tally


def moments(rng):
    tally = Moments(UNITS)
    tally.update(rng.normal(size=(50, UNITS)) * [1, 1e-9, 100])
    return tally


def covariance(rng):
    tally = Covariance(np.array([1.0, 0.3, 50.0]))
    tally.update(rng.normal(size=(50, UNITS)) * [1, 0.1, 20])
    return tally


def empty(tally):
    fresh = {
        Covariance: lambda: Covariance(np.array([1.0, 0.3, 50.0])),
        PerClass: lambda: PerClass(CLASSES, np.array([1.0, 0.3, 50.0])),
        Histogram: lambda: Histogram(ROWS),
        Moments: lambda: Moments(UNITS),
    }
    return fresh[type(tally)]()


def merged(*tallies):
    total = copy.deepcopy(tallies[0])
    for tally in tallies[1:]:
        total.merge(tally)
    return total


def same(a, b):
    return all(np.array_equal(a.state()[name], b.state()[name]) for name in a.state())


each_tally = pytest.mark.parametrize("make", [per_class, histogram, moments, covariance])


@each_tally
def test_parts_merge_in_any_order_to_the_same_bits(make, rng):
    parts = [make(rng) for _ in range(4)]
    whole = merged(*parts)
    assert all(same(whole, merged(*order)) for order in permutations(parts))
    assert same(whole, reduce(lambda right, left: merged(left, right), reversed(parts)))
    assert not same(whole, parts[0])


@each_tally
def test_merging_nothing_changes_nothing(make, rng):
    tally = make(rng)
    assert same(merged(tally, empty(tally)), tally)
    assert same(merged(empty(tally), tally), tally)


@each_tally
def test_merging_leaves_the_other_part(make, rng):
    part, other = make(rng), make(rng)
    before = copy.deepcopy(other)
    part.merge(other)
    assert same(other, before)


@each_tally
def test_tally_survives_a_file(make, rng, tmp_path):
    tally = make(rng)
    np.savez(tmp_path / "part.npz", **tally.state())
    again = empty(tally)
    with np.load(tmp_path / "part.npz") as state:
        again.load(dict(state))
    assert same(again, tally)


@each_tally
def test_loaded_tally_does_not_share_its_arrays(make, rng):
    tally = make(rng)
    again = empty(tally)
    again.load(tally.state())
    before = copy.deepcopy(tally)
    again.merge(tally)
    assert same(tally, before)


def test_part_of_another_shape_is_refused(rng):
    with pytest.raises(UserError, match=r"of shape \(4, 3\), wanted \(5, 3\)"):
        PerClass(5, np.ones(UNITS)).load({**per_class(rng).state(), "count": np.zeros(5, np.int64)})
    with pytest.raises(UserError, match="another run"):
        Histogram(ROWS + 1).load(histogram(rng).state())


def test_batches_add_up_to_the_whole(rng):
    values, label = rng.normal(size=(60, UNITS)), rng.integers(CLASSES, size=60)
    whole, pieces = PerClass(CLASSES, np.ones(UNITS)), PerClass(CLASSES, np.ones(UNITS))
    whole.update(values, label)
    for rows in np.array_split(rng.permutation(60), 7):
        pieces.update(values[rows], label[rows])
    assert same(whole, pieces)


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e3])
def test_class_means_and_squares_keep_their_digits_far_from_zero(rng, offset):
    values, label = rng.normal(offset, 1, (5000, UNITS)), rng.integers(CLASSES, size=5000)
    tally = PerClass(CLASSES, np.full(UNITS, abs(offset) + 3))
    tally.update(values, label)
    means = np.stack([values[label == k].mean(0) for k in range(CLASSES)])
    np.testing.assert_allclose(tally.mean, means, rtol=0, atol=1e-8 * (abs(offset) + 3))
    variance = tally.sum_of_squares / 5000 - (tally.count[:, None] * tally.mean).sum(0) ** 2 / 5000**2
    np.testing.assert_allclose(variance, values.var(0), rtol=1e-4)
    np.testing.assert_array_equal(tally.count, np.bincount(label))


def test_images_without_a_label_are_skipped():
    values = np.array([[1.0], [2.0], [np.nan], [4.0]])
    tally = PerClass(2, np.ones(1))
    tally.update(values, np.array([0, 1, -1, 1]))
    np.testing.assert_array_equal(tally.count, [1, 2])
    np.testing.assert_array_equal(tally.mean, [[1], [3]])
    np.testing.assert_array_equal(tally.sum_of_squares, [21])


def test_several_labels_of_an_image_are_several_classes_with_one_square(rng):
    values, label = rng.normal(size=(60, UNITS)), rng.integers(-1, CLASSES, (60, 2))
    both, first, second = (PerClass(k * CLASSES, np.ones(UNITS)) for k in (2, 1, 1))
    both.update(values, np.where(label < 0, -1, label + np.array([0, CLASSES])))
    first.update(values, label[:, 0])
    second.update(values, label[:, 1])
    np.testing.assert_array_equal(both.count, np.concatenate([first.count, second.count]))
    np.testing.assert_array_equal(both.mean, np.concatenate([first.mean, second.mean]))
    known = values[(label >= 0).any(1)]
    np.testing.assert_allclose(both.sum_of_squares, (known**2).sum(0), rtol=1e-8)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_that_overflowed_does_not_spoil_its_class(value):
    tally = PerClass(2, np.ones(2))
    tally.update(np.array([[1.0, 2.0], [value, 4.0], [3.0, 6.0]]), np.array([1, 1, 1]))
    np.testing.assert_array_equal(tally.mean, [[np.nan, np.nan], [2, 4]])


def test_class_without_images_has_no_mean():
    tally = PerClass(3, np.ones(1))
    tally.update(np.ones((2, 1)), np.array([0, 2]))
    np.testing.assert_array_equal(tally.mean, [[1], [np.nan], [1]])


def test_moments_keep_the_digits_of_every_size_of_number(rng):
    values = rng.lognormal(size=(1000, 5)) * 10.0 ** np.array([0, -3, -6, -9, 2])
    whole, pieces = Moments(5), Moments(5)
    whole.update(values)
    for rows in np.array_split(rng.permutation(1000), 9):
        pieces.update(values[rows])
    assert same(whole, pieces)
    np.testing.assert_allclose(whole.mean, values.mean(0), rtol=1e-10)
    for found, column, rtol in zip(whole.standard_error, values.T, [1e-12, 1e-12, 1e-9, 1e-3, 1e-12], strict=True):
        assert found == pytest.approx(stats.sem(column), rel=rtol)


@pytest.mark.parametrize("value", [-1.0, 1 / 3, -1e-13, 1 - 1e-16, 2.0**-69, 12345.678])
def test_moments_of_one_value_are_exact_to_the_unit(value):
    tally = Moments(1)
    for _ in range(7):
        tally.update(np.full((3, 1), value))
    unit = Fraction(2) ** -68
    exact = 21 * round(Fraction(value) / unit) * unit
    found = sum(int(k) * Fraction(u) for k, u in zip(tally.state()["total"][:, 0], Moments.UNITS, strict=True))
    assert found == exact
    assert tally.count.tolist() == [21]


def test_moments_leave_out_what_is_not_finite():
    tally = Moments(3)
    tally.update(np.array([[1.0, np.nan, np.inf], [3.0, 5.0, np.nan]]))
    np.testing.assert_array_equal(tally.count, [2, 1, 0])
    np.testing.assert_array_equal(tally.mean, [2, 5, np.nan])
    np.testing.assert_array_equal(tally.standard_error, [1, np.nan, np.nan])


def test_moments_of_a_constant_have_no_error():
    tally = Moments(2)
    tally.update(np.full((100, 2), [0.1, 1e-8]))
    # A square of 1e-16 has sixteen bits.
    np.testing.assert_array_less(tally.standard_error / tally.mean, [1e-9, 1e-3])


def test_histogram_edges_are_constants():
    edges = Histogram.edges()
    assert len(edges) == Histogram.BINS + 1 == 721
    np.testing.assert_allclose(edges[[0, 40, 560, 720]], [1e-14, 1e-13, 1, 1e4], rtol=1e-12)
    np.testing.assert_allclose(edges[1:] / edges[:-1], 10 ** (1 / 40), rtol=1e-12)


def test_histogram_adds_what_was_binned_elsewhere(rng):
    tally, counts = Histogram(1), rng.integers(5, size=(3, 1, Histogram.BINS + 2))
    for k, part in enumerate(counts):
        tally.update(part, np.array([k]), np.array([1]))
    np.testing.assert_array_equal(tally.state()["counts"], counts.sum(0))
    np.testing.assert_array_equal(tally.state()["zeros"], [3])
    np.testing.assert_array_equal(tally.state()["invalid"], [3])
