"""A run's units have their selectivity, its permuted null and ω² by their slow definitions, or a reason."""

import numpy as np
import pandas as pd
import pytest
import reference
import torch
from planted import tallied
from torch import nn

from gradlens import analyze, load_model
from gradlens.analyzers import _class_selectivity
from gradlens.analyzers._class_selectivity import ADJUSTED, ALL, NULL, OMEGA, RAW, RECTIFIED, ClassSelectivity
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe
from gradlens.stats.selectivity import permuted_labels, selectivity_index


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
    expected = {"": raw, ":null": null, ":omega_squared": omega}
    found = {tail: run.arrays[f"class_selectivity/1{tail}"] for tail in expected}
    assert "class_selectivity/1:adjusted" not in run.arrays
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


def seen(chosen, model, image, label, parts):
    """The analyzer's tallies of these parts of the images."""
    return tallied(chosen, *(probe_of(model, image, label, rows) for rows in parts))


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
    whole = seen(chosen, *given, images)
    shuffled = seen(chosen, *given, [images[i] for i in rng.permutation(64)])
    first, second = (seen(chosen, *given, part) for part in (images[:23], images[23:]))
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
    tallies = seen(chosen, *given, label, np.split(np.arange(64), 4))
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


def test_the_null_is_of_as_many_permutations_as_it_says(monkeypatch, rng):
    monkeypatch.setattr(_class_selectivity, "NULL_ENTRIES", 6 * 5 * 3)
    label = rng.integers(5, size=40)
    image, model = images_of(rng, label), units_and_model()
    run = run_of(image, label, model)
    values = model.net[:2](image).mean((2, 3)).detach().double().numpy()
    units = [u for u in values.T if np.ptp(u) > 0]
    of_each = [
        np.mean([reference.selectivity_index(u, new) for u in units])
        for new in permuted_labels(np.arange(40), label, 4).T
    ]
    assert run.summary[NULL] == pytest.approx(np.mean(of_each[:3]), abs=1e-5)
    assert all(abs(np.mean(of_each[:n]) - np.mean(of_each[:3])) > 1e-4 for n in (1, 2, 4))


# --- units that go below zero


def rectified_and_plain(activation, rng):
    """A run of units behind this activation, and their values ``(N, U, 2, 2)`` before the mean over space."""
    label = rng.integers(5, size=80)
    image, model = images_of(rng, label), units_and_model()
    model.net[1] = activation
    run = run_of(image, label, model)
    return run, label, model.net[:2](image).detach().double().numpy()


@pytest.mark.parametrize("activation", [nn.GELU(), nn.SiLU()])
def test_units_below_zero_are_rectified_before_their_mean_over_space(activation, rng):
    run, label, values = rectified_and_plain(activation, rng)
    dealt = permuted_labels(np.arange(80), label, 8)
    units = np.maximum(values, 0).mean((2, 3)).T
    live = np.ptp(units, 1) > 0
    units = units[live]
    raw = np.array([reference.selectivity_index(u, label) for u in units])
    null = np.array([np.mean([reference.selectivity_index(u, new) for new in dealt.T]) for u in units])
    np.testing.assert_allclose(run.arrays["class_selectivity/1:rectified"][live], raw, rtol=0, atol=1e-4)
    np.testing.assert_allclose(run.arrays["class_selectivity/1:rectified:null"][live], null, rtol=0, atol=1e-4)
    expected = raw.mean(), null.mean(), (raw.mean() - null.mean()) / (1 - null.mean())
    np.testing.assert_allclose([run.summary[name] for name in RECTIFIED], expected, rtol=0, atol=1e-4)
    plain = np.array([reference.selectivity_index(u, label) for u in np.maximum(values.mean((2, 3)), 0).T])
    assert abs(plain.mean() - raw.mean()) > 1e-3


def test_relu_units_are_rectified_as_they_are(rng):
    run, _, _ = rectified_and_plain(nn.ReLU(), rng)
    assert [run.summary[name] for name in RECTIFIED] == [run.summary[name] for name in (RAW, NULL, ADJUSTED)]
    assert not any("rectified" in name for name in run.arrays)


def test_the_number_of_classes_stands_beside_omega_squared(rng):
    label = rng.choice([0, 2, 4], size=60)
    assert run_of(images_of(rng, label), label).summary["classes_seen"] == 3


# --- what cannot be had


def reasons(run):
    assert all(run.summary[name] is None for name in run.provenance["missing"])
    return run.provenance["missing"]


def test_nothing_is_missing_from_a_sound_run(rng):
    label = rng.integers(5, size=40)
    run = run_of(images_of(rng, label), label)
    assert reasons(run) == {}
    assert all(run.summary[name] is not None for name in ALL)


def test_one_class_and_unknown_labels_say_nothing_of_selectivity(rng):
    label = np.full(20, 3)
    image = images_of(rng, label)
    assert reasons(run_of(image, label)) == dict.fromkeys(ALL, "all images are of one class")
    assert reasons(run_of(image, None)) == dict.fromkeys(ALL, "not every image has a known label")


def test_one_image_a_class_leaves_the_index_and_its_equal_null(rng):
    label = np.arange(5)
    run = run_of(images_of(rng, label), label)
    assert reasons(run) == dict.fromkeys((ADJUSTED, RECTIFIED[2], OMEGA), "no class has more than one image")
    assert run.summary[RAW] == pytest.approx(run.summary[NULL], abs=1e-9)


def test_units_that_never_vary_have_no_selectivity(rng):
    label = rng.integers(5, size=40)
    run = run_of(torch.full((40, 3, 2, 2), 0.5), label)
    assert reasons(run) == dict.fromkeys(ALL, "no unit varies over the images")
    assert run.summary["constant_units"] == 6


def test_a_model_without_activations_has_no_units(rng):
    label = rng.integers(5, size=20)
    model = load_model(nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), normalized=True, device="cpu")
    assert reasons(run_of(images_of(rng, label), label, model)) == dict.fromkeys(
        ALL, "the model has no activation layer"
    )


@pytest.mark.parametrize("known", [0, 10])
def test_images_that_nobody_announced_leave_no_null(rng, known):
    label = rng.integers(5, size=40)
    image, model = images_of(rng, label), units_and_model()
    chosen = told(model, label[:known])
    chosen.fit(probe_of(model, image, label, np.arange(16)))
    summary = chosen.summarize(pd.DataFrame(), seen(chosen, model, image, label, [np.arange(40)]))
    assert set(summary.missing) == {NULL, ADJUSTED, *RECTIFIED[1:]}
    assert np.isnan([summary.scalars[name] for name in summary.missing]).all()
    assert np.isfinite([summary.scalars[name] for name in (RAW, OMEGA)]).all()


# --- layers


@pytest.mark.parametrize("size", [1.0, 1e-3, 1e-5])
def test_quiet_units_beside_a_loud_one_keep_their_digits(rng, size):
    # A layer whose units differ in size by orders of magnitude, seen through the analyzer.
    label = rng.integers(8, size=400)
    values = torch.from_numpy(rng.random((400, 3)) * [size, 1, size]).float()
    values[:, 2] *= torch.from_numpy(label)
    found = class_selectivity_of(values, label).arrays
    expected = [reference.omega_squared(v, label) for v in values.double().numpy().T]
    np.testing.assert_allclose(found["act:omega_squared"], expected, rtol=0, atol=2e-3)


def class_selectivity_of(values, label, classes=8):
    """The analyzer's summary of a layer whose units have these values."""

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.head = nn.Identity(), nn.Linear(values.shape[1], classes)

        def forward(self, image):
            return self.head(self.act(values[image[:, 0, 0, 0].long()]) + 0 * image.mean((1, 2, 3))[:, None])

    rows = torch.arange(len(values))
    image = rows.float().view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    batch = Batch(image, torch.as_tensor(label), rows)
    chosen = ClassSelectivity()
    model = Layer()
    chosen.fit(Probe(model, batch[slice(0, 64)], needs=("units:act",)))
    tallies = tallied(chosen, Probe(model, batch, needs=("units:act",)))
    return chosen.summarize(pd.DataFrame(), tallies)


def test_selectivity_is_told_unit_by_unit_and_layer_by_layer(cnn, digits):
    chosen = ClassSelectivity()
    chosen.fit(Probe(cnn, digits[slice(0, 32)], needs=("units",)))
    halves = (Probe(cnn, digits[rows], needs=("units",)) for rows in (slice(0, 32), slice(32, 64)))
    tallies = tallied(chosen, *halves)
    scalars, arrays, _ = chosen.summarize(pd.DataFrame(), tallies)
    label, units = digits.target.numpy(), Probe(cnn, digits, needs=("units",)).units()
    means = {"": [], ":omega_squared": []}
    for layer, values in units.items():
        values = values.detach().double().numpy()
        omega = [reference.omega_squared(v, label) for v in values.T]
        np.testing.assert_allclose(arrays[f"{layer}:omega_squared"], omega, rtol=0, atol=1e-4)
        class_means = np.array([values[label == k].mean(0) for k in sorted(set(label))])
        np.testing.assert_allclose(arrays[layer], selectivity_index(class_means), rtol=0, atol=1e-4)
        for tail, found in means.items():
            found.append(arrays[f"{layer}{tail}"].mean())
    assert scalars["class_selectivity_mean"] == pytest.approx(np.mean(means[""]))
    assert scalars["omega_squared_mean"] == pytest.approx(np.mean(means[":omega_squared"]))


def test_unlabelled_images_have_no_selectivity(cnn, batch):
    chosen = ClassSelectivity()
    probe = Probe(cnn, Batch(batch.image, None, batch.index), needs=("units",))
    chosen.fit(probe)
    assert chosen.observe(probe) == {}
    scalars, arrays, _ = chosen.summarize(pd.DataFrame(), chosen.tallies())
    assert np.isnan(list(scalars.values())).all()
    assert not arrays
