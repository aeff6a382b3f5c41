"""Class selectivity beside its permuted null: near zero without class signal, whatever the number of images."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import reference
import torch
from scipy.stats import norm
from torch import nn

from gradlens import Batch, Probe, analyze, load_model
from gradlens.analyzers import _class_selectivity
from gradlens.analyzers._class_selectivity import ADJUSTED, NAMES, NULL, OMEGA, RAW, ClassSelectivity
from gradlens.stats.selectivity import adjusted_index, layer_selectivity, null_index, permuted_labels, unit_selectivity

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
    np.testing.assert_allclose(adjusted_index(units.raw, units.null)[varies], 0, atol=1e-5)
    assert np.isnan([units.adjusted, units.omega_squared]).all()


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
    assert units.adjusted.min() < -1000
    assert -0.2 < layer_selectivity(units).adjusted < 1


# --- the measures themselves


def test_the_null_is_the_mean_index_of_permuted_labels(rng):
    values, label = rng.lognormal(size=(60, 3)), rng.integers(4, size=60)
    dealt = permuted_labels(np.arange(60), label, 5)
    permuted = np.array([[values[new == k].mean(0) for k in range(4)] for new in dealt.T])
    expected = [np.mean([reference.selectivity_index(unit, new) for new in dealt.T]) for unit in values.T]
    np.testing.assert_allclose(null_index(permuted), expected, rtol=1e-12)


def test_adjusted_index_is_zero_at_the_null_and_one_at_one():
    np.testing.assert_allclose(
        adjusted_index(np.array([0.3, 1, 0.65, 0]), np.array([0.3, 0.3, 0.3, 0])), [0, 1, 0.5, 0]
    )
    assert np.isnan(adjusted_index(np.array([1.0]), np.array([1.0]))[0])


def test_no_permutation_leaves_no_null(rng):
    values, label = drawn(rng, 1.0, 4, 5)
    units = unit_selectivity(np.bincount(label), class_means(values, label), (values**2).sum(0), np.empty((0, 100, 5)))
    assert np.isfinite([units.raw, units.omega_squared]).all()
    assert np.isnan([units.null, units.adjusted]).all()
    assert np.isnan(layer_selectivity(units).adjusted)


def test_units_that_never_vary_are_missing_and_left_out_of_the_mean(rng):
    values, label = drawn(rng, 0.16, 5, 4)
    expected = layer_selectivity(measured(values, label))
    values = np.column_stack([np.zeros(500), values, np.full(500, 0.3)])
    units = measured(values, label)
    assert np.isnan(np.array(units)[:, [0, -1]]).all()
    assert np.isfinite(np.array(units)[:, 1:-1]).all()
    np.testing.assert_allclose(layer_selectivity(units), expected)


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


# --- the analyzer


def units_and_model(units=6, classes=5):
    """Channel means of a convolution behind a ReLU, where a run finds them as layer 1."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, units, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(units, classes)
        )
    return load_model(net, normalized=True, device="cpu")


def images_of(rng, label):
    """Noise, brighter in red with the class."""
    image = rng.random((len(label), 3, 2, 2))
    image[:, 0] = (image[:, 0] + np.maximum(label, 0)[:, None, None]) / (1 + max(label.max(), 1))
    return torch.from_numpy(image).float()


def run_of(image, label, model=None, **options):
    model = model or units_and_model()
    return analyze(model, (image, label), ["class_selectivity"], progress=False, **options)


def test_a_run_holds_each_measure_by_its_slow_definition(rng):
    label = np.sort(rng.choice(5, size=90, p=[0.4, 0.3, 0.1, 0.1, 0.1]))
    image = images_of(rng, label)
    model = units_and_model()
    run = run_of(image, label, model, batch_size=16)
    values = model.net[:2](image).mean((2, 3)).detach().double().numpy()
    dealt = permuted_labels(np.arange(90), label, 8)
    units = [u for u in values.T if np.ptp(u) > 0]
    raw = np.array([reference.selectivity_index(u, label) for u in units])
    null = np.array([np.mean([reference.selectivity_index(u, new) for new in dealt.T]) for u in units])
    omega = np.array([reference.omega_squared(u, label) for u in units])
    found = {tail: run.arrays[f"class_selectivity/1{tail}"] for tail in ("", ":null", ":adjusted", ":omega_squared")}
    expected = {"": raw, ":null": null, ":adjusted": (raw - null) / (1 - null), ":omega_squared": omega}
    for tail, numbers in expected.items():
        np.testing.assert_allclose(found[tail][np.isfinite(found[tail])], numbers, rtol=0, atol=1e-5, err_msg=tail)
    assert run.summary[NULL] == pytest.approx(null.mean(), abs=1e-5)
    assert run.summary[ADJUSTED] == pytest.approx((raw.mean() - null.mean()) / (1 - null.mean()), abs=1e-5)
    assert omega.mean() > 0.1
    assert run.summary[OMEGA] == pytest.approx(omega.mean(), abs=1e-5)
    counts = np.bincount(label)
    np.testing.assert_array_equal(run.arrays["class_selectivity/run:images_a_class"], counts)
    assert run.arrays["class_selectivity/run:permutations"] == 8
    assert run.summary["images_a_class_min"] == counts.min()
    assert run.summary["images_a_class_median"] == np.median(counts)
    assert run.summary["constant_units"] == 6 - len(units)


def told(model, label, index=None):
    """An analyzer that knows the run's images, and has seen some of them."""
    chosen = ClassSelectivity()
    chosen.expect(np.arange(len(label)) if index is None else index, label)
    return chosen


def probe_of(model, image, label, rows):
    batch = Batch(image[rows], torch.from_numpy(label[rows]), torch.from_numpy(rows))
    return Probe(model, batch, needs=("units",))


def tallied(chosen, model, image, label, parts):
    tallies = chosen.tallies()
    for rows in parts:
        for name, values in chosen.observe(probe_of(model, image, label, rows)).items():
            tallies[name].update(*values)
    return tallies


@pytest.fixture
def half_known(rng):
    """A model with 64 images, of which some have no label, and an analyzer that was told of them."""
    label = rng.integers(-1, 5, 64)
    image, model = images_of(rng, label), units_and_model()
    chosen = told(model, label)
    chosen.fit(probe_of(model, image, label, np.arange(32)))
    return chosen, model, image, label


def test_tallies_do_not_depend_on_the_order_and_two_runs_merged_equal_one(half_known, rng):
    chosen, *given = half_known
    # Every image by itself, so that its values have the same bits wherever it comes.
    images = [np.array([i]) for i in range(64)]
    whole = tallied(chosen, *given, images)
    shuffled = tallied(chosen, *given, [images[i] for i in rng.permutation(64)])
    first, second = (tallied(chosen, *given, part) for part in (images[:23], images[23:]))
    for name, tally in whole.items():
        second[name].merge(first[name])
        for other in (shuffled, second):
            for key, array in tally.state().items():
                np.testing.assert_array_equal(other[name].state()[key], array)
    one, two = (chosen.summarize(pd.DataFrame(), tallies) for tallies in (whole, second))
    assert one.scalars == two.scalars
    assert np.isfinite(list(one.scalars.values())).all()


def test_images_without_a_label_count_neither_for_the_index_nor_for_its_null(half_known):
    chosen, *given, label = half_known
    tallies = tallied(chosen, *given, label, np.split(np.arange(64), 4))
    known = np.bincount(label[label >= 0])
    np.testing.assert_array_equal(tallies["units"].count, np.tile(known, 9))


def test_every_process_and_model_permutes_alike(half_known):
    chosen, model, image, label = half_known
    order = np.random.default_rng(1).permutation(64)
    other = told(model, label[order], index=order)
    other.fit(probe_of(model, image, label, np.arange(16)))
    rows = np.arange(20, 40)
    one, two = (a.observe(probe_of(model, image, label, rows))["units"][1] for a in (chosen, other))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one[:, 0], label[rows])
    assert (one[:, 1:] % 5 != label[rows][:, None]).any()


@pytest.mark.parametrize(("entries", "permutations"), [(2**25, 8), (6 * 5 * 3, 3), (6 * 5 * 4 - 1, 3), (1, 1)])
def test_there_are_as_many_permutations_as_memory_holds(monkeypatch, rng, entries, permutations):
    monkeypatch.setattr(_class_selectivity, "NULL_ENTRIES", entries)
    label = rng.integers(5, size=40)
    run = run_of(images_of(rng, label), label)
    assert run.arrays["class_selectivity/run:permutations"] == permutations
    assert run.summary[NULL] is not None


# --- what cannot be had


def reasons(run):
    assert all(run.summary[name] is None for name in run.provenance["missing"])
    return run.provenance["missing"]


def test_nothing_is_missing_from_a_sound_run(rng):
    label = rng.integers(5, size=40)
    run = run_of(images_of(rng, label), label)
    assert reasons(run) == {}
    assert all(run.summary[name] is not None for name in NAMES)


def test_one_class_and_unknown_labels_say_nothing_of_selectivity(rng):
    label = np.full(20, 3)
    image = images_of(rng, label)
    assert reasons(run_of(image, label)) == dict.fromkeys(NAMES, "all images are of one class")
    assert reasons(run_of(image, None)) == dict.fromkeys(NAMES, "not every image has a known label")


def test_one_image_a_class_leaves_the_index_and_its_equal_null(rng):
    label = np.arange(5)
    run = run_of(images_of(rng, label), label)
    assert reasons(run) == dict.fromkeys((ADJUSTED, OMEGA), "no class has more than one image")
    assert run.summary[RAW] == pytest.approx(run.summary[NULL], abs=1e-9)


def test_units_that_never_vary_have_no_selectivity(rng):
    label = rng.integers(5, size=40)
    run = run_of(torch.full((40, 3, 2, 2), 0.5), label)
    assert reasons(run) == dict.fromkeys(NAMES, "no unit varies over the images")
    assert run.summary["constant_units"] == 6


def test_a_model_without_activations_has_no_units(rng):
    label = rng.integers(5, size=20)
    model = load_model(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), normalized=True, device="cpu")
    assert reasons(run_of(images_of(rng, label), label, model)) == dict.fromkeys(
        NAMES, "the model has no activation layer"
    )


@pytest.mark.parametrize("known", [0, 10])
def test_images_that_nobody_announced_leave_no_null(rng, known):
    label = rng.integers(5, size=40)
    image, model = images_of(rng, label), units_and_model()
    chosen = told(model, label[:known])
    chosen.fit(probe_of(model, image, label, np.arange(16)))
    summary = chosen.summarize(pd.DataFrame(), tallied(chosen, model, image, label, [np.arange(40)]))
    assert set(summary.missing) == {NULL, ADJUSTED}
    assert np.isnan([summary.scalars[name] for name in summary.missing]).all()
    assert np.isfinite([summary.scalars[name] for name in (RAW, OMEGA)]).all()
