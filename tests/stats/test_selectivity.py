"""Class selectivity beside its permuted null is near zero without class signal, whatever the number of images."""

import itertools

import numpy as np
import pytest
import reference
from scipy.stats import norm

from gradlens.stats.selectivity import (
    adjusted_index,
    layer_selectivity,
    null_index,
    omega_squared,
    permuted_labels,
    selectivity_index,
    unit_selectivity,
)
from gradlens.stats.tallies import PerClass

# --- one unit


def selective(values, label, classes, scale=None):
    scale = np.maximum(np.abs(values).max(0), 1e-9) if scale is None else scale
    tally = PerClass(classes, scale)
    tally.update(values.astype(np.float32), label)
    return selectivity_index(tally.mean), omega_squared(tally.count, tally.mean, tally.sum_of_squares)


def test_index_and_omega_squared_are_the_papers(rng):
    label = rng.integers(5, size=300)
    values = rng.lognormal(size=(300, 4)) + label[:, None] * [0, 0.1, 0.5, 2]
    index, omega = selective(values, label, 5)
    np.testing.assert_allclose(index, [reference.selectivity_index(v, label) for v in values.T], rtol=1e-6)
    np.testing.assert_allclose(omega, [reference.omega_squared(v, label) for v in values.T], rtol=0, atol=1e-6)


def test_unit_for_one_class_is_perfectly_selective():
    label = np.repeat(np.arange(5), 20)
    index, omega = selective((label == 3)[:, None] * 0.7, label, 5)
    assert index[0] == pytest.approx(1, abs=1e-5)
    assert omega[0] == pytest.approx(1, abs=1e-6)


def test_only_omega_squared_is_zero_without_class_signal(rng):
    label = rng.permutation(np.repeat(np.arange(100), 20))
    values = np.maximum(rng.normal(-0.5, 1, (2000, 200)), 0)
    index, omega = selective(values, label, 100)
    assert abs(omega.mean()) < 2e-3
    assert index.mean() > 0.3


def test_negative_class_means_count_as_zero():
    np.testing.assert_allclose(selectivity_index(np.array([[0.5, -1], [-0.3, -2]])), [1, 0], atol=1e-5)


def test_classes_without_images_are_left_out(rng):
    label = rng.choice([0, 2, 5], size=90)
    values = rng.random((90, 3)) + (label == 2)[:, None]
    index, omega = selective(values, label, 6)
    np.testing.assert_allclose(index, [reference.selectivity_index(v, label) for v in values.T], rtol=1e-6)
    np.testing.assert_allclose(omega, [reference.omega_squared(v, label) for v in values.T], rtol=0, atol=1e-6)


def test_one_class_says_nothing_of_selectivity(rng):
    index, omega = selective(rng.random((50, 2)), np.zeros(50, int), 4)
    assert np.isnan(index).all()
    assert np.isnan(omega).all()


@pytest.mark.parametrize("constant", [0.0, 0.7, 1e3])
def test_constant_unit_has_no_variance_to_explain(constant, rng):
    index, omega = selective(np.full((60, 1), constant), rng.integers(4, size=60), 4)
    assert index[0] == pytest.approx(0, abs=1e-6)
    assert np.isnan(omega[0])


# Share of images on which a unit is active.
KINDS = {"dense": 1.0, "ReLU-sparse": 0.16, "very sparse": 0.02}
each_kind = pytest.mark.parametrize("active", KINDS.values(), ids=KINDS)


def drawn(rng, active, n, units, signal=0.0, classes=100):
    """Values ``(N, U)`` and labels; the class explains the share ``signal`` of what drives a unit."""
    of_class = np.sqrt(signal) * rng.normal(size=(classes, 1, units))
    drive = (of_class + np.sqrt(1 - signal) * rng.normal(size=(classes, n, units))).reshape(-1, units)
    values = np.abs(drive) if active == 1 else np.maximum(drive - norm.isf(active), 0)
    return values, np.repeat(np.arange(classes), n)


def class_means(values, label):
    """``(K, U)`` for labels of equal number."""
    order = np.argsort(label, kind="stable")
    return values[order].reshape(label.max() + 1, -1, values.shape[1]).mean(1)


def measured(values, label, permutations=8):
    dealt = permuted_labels(np.arange(len(label)), label, permutations)
    permuted = np.stack([class_means(values, new) for new in dealt.T])
    return unit_selectivity(np.bincount(label), class_means(values, label), (values**2).sum(0), permuted)


# --- the bands of a measure without anything to measure


@each_kind
@pytest.mark.parametrize("permutations", [1, 8])
@pytest.mark.parametrize("n", [2, 5, 10, 50])
def test_without_class_signal_only_the_raw_index_is_far_from_zero(rng, active, n, permutations):
    # ω² of one unit scatters by about 0.2 / n, so that few images a class ask for many units.
    values, label = drawn(rng, active, n, units=max(300, 24_000 // n**2))
    units = measured(values, label, permutations)
    layer = layer_selectivity(units)
    assert abs(layer.adjusted) < 0.05
    assert abs(layer.omega_squared) < 0.005
    assert layer.raw > {1.0: 0.09, 0.16: 0.35, 0.02: 0.7}[active]
    assert layer.null == pytest.approx(layer.raw, abs=0.02)


@each_kind
def test_one_image_a_class_has_a_null_equal_to_the_index(rng, active):
    units = measured(*drawn(rng, active, 1, 300))
    varies = np.isfinite(units.raw)
    assert varies.any()
    np.testing.assert_allclose(units.null[varies], units.raw[varies], rtol=0, atol=1e-12)
    assert adjusted_index(units.raw[varies].mean(), units.null[varies].mean()) == pytest.approx(0, abs=1e-5)
    assert np.isnan(units.omega_squared).all()
    assert np.isnan(layer_selectivity(units).adjusted)


@each_kind
@pytest.mark.parametrize("n", [2, 10, 50])
def test_class_signal_raises_the_adjusted_index_and_omega_squared(rng, active, n):
    layers = [layer_selectivity(measured(*drawn(rng, active, n, 600, signal))) for signal in (0, 0.2, 0.5, 0.9)]
    for measure in ("adjusted", "omega_squared"):
        values = [float(getattr(layer, measure)) for layer in layers]
        assert values == sorted(values), measure
        assert values[-1] > values[0] + 0.05, measure
    nulls = [layer.null for layer in layers]
    np.testing.assert_allclose(nulls, nulls[0], rtol=0, atol=0.05)


@each_kind
def test_omega_squared_does_not_depend_on_the_images_a_class(rng, active):
    # With so many classes even the sparsest unit is active on some forty images.
    layers = [layer_selectivity(measured(*drawn(rng, active, n, 3000 // n, 0.3, classes=1000), 1)) for n in (2, 20)]
    assert layers[0].omega_squared == pytest.approx(layers[1].omega_squared, rel=0.1)
    assert layers[1].adjusted > 2 * layers[0].adjusted > 0


def test_a_unit_whose_null_is_nearly_one_does_not_decide_its_layer():
    # The first unit's two active images are of one class among permuted labels only.
    values = np.array([[0, 1, 0, 1, 0, 0]] + [[3, 4, 1, 2, 1, 1]] * 9, float).T
    label, new = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 0, 1, 2, 2])
    means = class_means(values, label), class_means(values, new)
    units = unit_selectivity(np.full(3, 2), means[0], (values**2).sum(0), means[1][None])
    assert ((units.raw - units.null) / (1 - units.null)).min() < -1000
    assert -0.2 < layer_selectivity(units).adjusted < 1


# --- the measures themselves


def test_the_null_is_the_mean_index_of_permuted_labels(rng):
    values, label = rng.lognormal(size=(60, 3)), rng.integers(4, size=60)
    dealt = permuted_labels(np.arange(60), label, 5)
    permuted = np.array([[values[new == k].mean(0) for k in range(4)] for new in dealt.T])
    expected = [np.mean([reference.selectivity_index(unit, new) for new in dealt.T]) for unit in values.T]
    np.testing.assert_allclose(null_index(permuted), expected, rtol=1e-12)


def test_adjusted_index_is_zero_at_the_null_and_one_at_one():
    found = [adjusted_index(*pair) for pair in ((0.3, 0.3), (1, 0.3), (0.65, 0.3), (0, 0))]
    np.testing.assert_allclose(found, [0, 1, 0.5, 0])
    assert np.isnan([adjusted_index(1.0, 1.0), adjusted_index(0.5, np.nan)]).all()


def test_no_permutation_leaves_no_null(rng):
    values, label = drawn(rng, 1.0, 4, 5)
    units = unit_selectivity(np.bincount(label), class_means(values, label), (values**2).sum(0), np.empty((0, 100, 5)))
    assert np.isfinite([units.raw, units.omega_squared]).all()
    assert np.isnan(units.null).all()
    assert np.isnan(layer_selectivity(units).adjusted)


def test_units_that_never_vary_are_missing_and_left_out_of_the_mean(rng):
    values, label = drawn(rng, 0.16, 5, 4)
    expected = layer_selectivity(measured(values, label))
    values = np.column_stack([np.zeros(500), values, np.full(500, 0.3)])
    units = measured(values, label)
    assert np.isnan(np.array(units)[:, [0, -1]]).all()
    assert np.isfinite(np.array(units)[:, 1:-1]).all()
    np.testing.assert_allclose(layer_selectivity(units), expected)


@pytest.mark.parametrize(("classes", "expected"), [(10, 0.44), (100, 0.08)])
def test_omega_squared_of_the_same_detector_falls_with_the_classes(rng, classes, expected):
    # One class in K drives it by 2.8 standard deviations: between-class variance 2.8² (K − 1) / K² beside 1, less
    # its noise; a mean over 50 units of 2,000 images scatters by less than .01.
    label = np.repeat(np.arange(classes), 2000 // classes)
    values = rng.normal(size=(2000, 50)) + 2.8 * (label == 3)[:, None]
    between = 2.8**2 * (classes - 1) / classes**2
    assert between / (1 + between) == pytest.approx(expected, abs=0.035)
    found = selective(values - values.min(), label, classes)[1].mean()
    assert found == pytest.approx(between / (1 + between), abs=0.02)


# --- permuted labels


def test_permuted_labels_are_the_labels_dealt_anew(rng):
    label = rng.integers(-1, 7, 500)
    dealt = permuted_labels(np.arange(500), label, 8)
    for new in dealt.T:
        np.testing.assert_array_equal(np.bincount(new + 1), np.bincount(label + 1))
        np.testing.assert_array_equal(new < 0, label < 0)
        assert (new != label).any()
    assert all((a != b).any() for a, b in itertools.combinations(dealt.T, 2))


def test_permuted_labels_belong_to_the_images_not_to_their_order(rng):
    index, label, order = rng.permutation(900)[:300], rng.integers(-1, 7, 300), rng.permutation(300)
    dealt = permuted_labels(index, label, 4)
    np.testing.assert_array_equal(permuted_labels(index[order], label[order], 4), dealt[order])
    np.testing.assert_array_equal(permuted_labels(index, label, 2), dealt[:, :2])
    assert (permuted_labels(index + 1, label, 4) != dealt).any()


def test_permuted_labels_know_nothing_of_the_true_ones():
    label = np.repeat(np.arange(10), 5000)
    for new in permuted_labels(np.arange(50_000), label, 8).T:
        # Each class is dealt to each other as if at random: chi² of a 10 × 10 table has 81 degrees of freedom.
        table = np.bincount(10 * label + new, minlength=100)
        assert 40 < ((table - 500) ** 2 / 500).sum() < 135


def test_permuted_labels_are_the_same_on_every_machine():
    # A run may be resumed elsewhere, so these may never change.
    dealt = permuted_labels(np.arange(10), np.arange(10) // 2, 2)
    assert dealt.T.tolist() == [[1, 0, 2, 3, 2, 1, 0, 3, 4, 4], [1, 0, 4, 4, 2, 3, 1, 2, 3, 0]]
