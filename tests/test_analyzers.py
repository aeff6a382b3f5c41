import numpy as np
import pandas as pd
import pytest
import reference
import torch
from planted import frame, planted
from torch import nn

from gradlens import load_data
from gradlens.analyzers import Analyzer, Inline
from gradlens.analyzers._channel_asymmetry import ChannelAsymmetry, _bin
from gradlens.analyzers._class_selectivity import ClassSelectivity
from gradlens.analyzers._edge_concentration import MEASURES
from gradlens.analyzers._sample_asymmetry import SampleAsymmetry
from gradlens.core.registry import analyzer
from gradlens.core.types import Batch, UserError
from gradlens.probes.probe import Probe
from gradlens.stats.selectivity import omega_squared, selectivity_index
from gradlens.stats.tallies import Histogram, PerClass

ANALYZERS = list(analyzer)
each_analyzer = pytest.mark.parametrize("name", ANALYZERS)
each_measure = pytest.mark.parametrize("measure", MEASURES)


def fitted(name, model, pilot):
    # With cheaper parameters where an analyzer's own would keep a test waiting.
    chosen = analyzer.build(f"{name}:{getattr(analyzer[name], 'cheap', '')}")
    data = load_data("shapes")
    chosen.expect(data.indices, data.labels)
    chosen.fit(Probe(model, pilot, needs=chosen.needs))
    return chosen


def assert_same_columns(found, expected):
    assert list(found) == list(expected)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.fixture
def pilot(shapes):
    return shapes[slice(64, 128)]


@pytest.fixture
def few(shapes):
    return shapes[slice(0, 32)]


# --- laws of every analyzer


@each_analyzer
def test_columns_hold_one_number_an_image(name, cnn, few, pilot):
    chosen = fitted(name, cnn, pilot)
    for column, values in chosen.measure(Probe(cnn, few, needs=chosen.needs)).items():
        assert values.shape == (32,), column
        assert values.isfinite().float().mean() > 0.9, column


@each_analyzer
def test_columns_do_not_depend_on_order(name, cnn, few, pilot):
    chosen, order = fitted(name, cnn, pilot), torch.randperm(32)
    shuffled = Batch(few.image[order], few.target[order], few.index[order])
    found = chosen.measure(Probe(cnn, shuffled, needs=chosen.needs))
    expected = chosen.measure(Probe(cnn, few, needs=chosen.needs))
    assert_same_columns(found, {k: v[order] for k, v in expected.items()})


@each_analyzer
def test_columns_do_not_depend_on_batch_mates(name, cnn, shapes, pilot):
    chosen = fitted(name, cnn, pilot)
    one, other = (chosen.measure(Probe(cnn, shapes[rows], needs=chosen.needs)) for rows in (slice(0, 16), slice(8, 24)))
    assert_same_columns({k: v[:8] for k, v in other.items()}, {k: v[8:] for k, v in one.items()})


def tallied(chosen, *probes):
    tallies = chosen.tallies()
    for probe in probes:
        for key, values in chosen.observe(probe).items():
            tallies[key].update(*values)
    return {f"{key}/{name}": array for key, tally in tallies.items() for name, array in tally.state().items()}


@pytest.mark.parametrize("name", [n for n in ANALYZERS if type(analyzer[n]()).tallies is not Analyzer.tallies])
def test_tallies_do_not_depend_on_order(name, cnn, few, pilot):
    chosen, order = fitted(name, cnn, pilot), torch.randperm(32)
    halves = [few[slice(0, 16)], few[slice(16, 32)]]
    shuffled = [Batch(few.image[rows], few.target[rows], few.index[rows]) for rows in order.split(16)]
    found, expected = (tallied(chosen, *(Probe(cnn, b, needs=chosen.needs) for b in bs)) for bs in (shuffled, halves))
    assert any(array.any() for array in expected.values())
    for key, array in expected.items():
        # Rounding may put a pixel into the next bin.
        assert np.abs(found[key] - array).sum() <= 1e-5 * np.abs(array).sum(), key


@each_analyzer
def test_analyzer_only_reads_the_probe(name, cnn, few, pilot):
    chosen = fitted(name, cnn, pilot)
    probe = Probe(cnn, few, needs=("units",))
    read = [*probe.scaled_gradient(), probe.edges("canny"), probe.edges("contour_energy"), probe.image, probe.logits]
    before = [t.clone() for t in (*read, *probe.units().values())]
    chosen.measure(probe)
    chosen.observe(probe)
    assert all(torch.equal(a, b) for a, b in zip((*read, *probe.units().values()), before, strict=True))


@each_analyzer
def test_summary_holds_numbers_and_arrays(name, cnn, few, pilot):
    chosen = fitted(name, cnn, pilot)
    probe = Probe(cnn, few, needs=chosen.needs)
    tallies = chosen.tallies()
    for key, values in chosen.observe(probe).items():
        tallies[key].update(*values)
    summary = chosen.summarize(frame(probe, chosen.measure(probe)), tallies)
    assert summary.scalars
    assert all(np.isfinite(v) or k in summary.missing for k, v in summary.scalars.items())
    assert all(isinstance(a, np.ndarray) for a in summary.arrays.values())


@each_analyzer
def test_looking_twice_says_the_same(name, cnn, few, pilot):
    first, second = fitted(name, cnn, pilot), fitted(name, cnn, pilot)
    assert_same_columns(
        second.measure(Probe(cnn, few, needs=second.needs)), first.measure(Probe(cnn, few, needs=first.needs))
    )


# --- size


def test_norms_are_those_of_the_gradient(cnn, batch):
    probe = Probe(cnn, batch)
    columns, flat = SampleAsymmetry().measure(probe), probe.gradient().double().flatten(1)
    for name, expected in (("l1", flat.abs().sum(1)), ("l2", flat.norm(dim=1)), ("linf", flat.abs().amax(1))):
        torch.testing.assert_close(columns[name], expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(columns["l1_logit"], columns["l1"] / probe.error_mass)


def test_l1_is_the_first_order_gain_of_an_attack(cnn, batch):
    batch = Batch(batch.image.double(), batch.target, batch.index)
    probe, eps = Probe(cnn.double(), batch), 1e-7
    gain = probe.at(batch.image + eps * probe.gradient().sign()).loss - probe.loss
    torch.testing.assert_close(gain / eps, SampleAsymmetry().measure(probe)["l1"], rtol=1e-4, atol=1e-6)


def test_other_objectives_have_no_error_mass_to_take_out(cnn, batch):
    columns = SampleAsymmetry("true_logit").measure(Probe(cnn, batch))
    assert list(columns) == ["l1", "l2", "linf", "gradient_flag"]
    expected = Probe(cnn, batch).gradient("true_logit").double().abs().sum((1, 2, 3))
    torch.testing.assert_close(columns["l1"], expected, rtol=1e-6, atol=0)


def test_unsound_gradients_are_flagged_and_counted(few):
    batch, gradient, offset = few[slice(0, 4)], torch.randn(4, 3, 64, 64) * 1e-3, torch.zeros(4)
    gradient[1], offset[2], gradient[3, 0, 5, 5] = 0, 1000, torch.nan
    probe = planted(batch, gradient, offset)
    columns = SampleAsymmetry().measure(probe)
    assert columns["gradient_flag"].tolist() == [0, 1, 2, 3]
    scalars = SampleAsymmetry().summarize(frame(probe, columns), {}).scalars
    counts = {name: scalars[f"gradients_{name}"] for name in ("zero", "underflow", "not_finite")}
    assert counts == {"zero": 1, "underflow": 1, "not_finite": 1}
    assert scalars["l1_median"] == pytest.approx(0)


def test_sizes_are_summed_up_over_images(rng):
    samples = pd.DataFrame(
        {
            "l1": rng.lognormal(size=200),
            "l1_logit": rng.lognormal(size=200),
            "loss": rng.random(200),
            "correct": rng.random(200) < 0.7,
            "gradient_flag": 0,
        }
    )
    scalars = SampleAsymmetry().summarize(samples, {}).scalars
    assert scalars["l1_gini"] == pytest.approx(reference.gini(samples["l1"]))
    assert scalars["l1_mean_wrong"] == pytest.approx(samples.loc[~samples["correct"], "l1"].mean())
    assert scalars["l1_median"] == samples["l1"].median()
    wrong = ~samples["correct"]
    assert scalars["l1_auc_wrong"] == pytest.approx(reference.roc_auc_score(wrong, samples["l1"]))
    assert scalars["loss_auc_wrong"] == pytest.approx(reference.roc_auc_score(wrong, samples["loss"]))


# --- channels


def channels_of(few, gradient):
    return ChannelAsymmetry("true_logit").measure(planted(few, gradient))


def test_shares_are_parts_of_the_l1_norm(few):
    gradient = torch.randn(32, 3, 64, 64).exp() * torch.tensor([1, 2, 0.5]).view(1, 3, 1, 1)
    columns, l1 = channels_of(few, gradient), gradient.double().abs().sum((2, 3))
    for k, channel in enumerate("rgb"):
        torch.testing.assert_close(columns[f"share_{channel}"], l1[:, k] / l1.sum(1), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("mix", "expected"),
    [([[1, 1, 1]] * 3, 1), (np.eye(3), 1 / 3), ([[1, -1, 0]] * 3, 0), ([[0, 2, 0]] * 3, 1 / 3)],
    ids=["gray", "independent", "opposed", "one channel"],
)
def test_coherence_tells_gray_from_colour(few, mix, expected):
    noise = torch.randn(32, 3, 64, 64)
    gradient = torch.einsum("bkhw,kc->bchw", noise, torch.tensor(np.array(mix), dtype=torch.float32))
    coherence = channels_of(few, gradient)["luminance_coherence"]
    assert coherence.mean().item() == pytest.approx(expected, abs=5e-3)
    assert (coherence - expected).abs().max() < 0.05


def test_gradient_of_nothing_has_no_channels(few):
    columns = channels_of(few, torch.zeros(32, 3, 64, 64))
    assert all(values.isnan().all() for values in columns.values())


def counted(probe, objective="true_logit"):
    (values,) = ChannelAsymmetry(objective).observe(probe).values()
    tally = Histogram(3)
    tally.update(*values)
    return tally.state()


def test_every_pixel_is_counted_in_its_bin(few):
    edges = torch.from_numpy(Histogram.edges())
    gradient = torch.zeros(2, 3, 64, 64)
    # One value in the middle of every bin of red; underflow, overflow and what is no number in green.
    middle = (edges[:-1] * edges[1:]).sqrt().float()
    gradient[0, 0].view(-1)[:720] = middle
    gradient[1, 0].view(-1)[:720] = -middle
    gradient[0, 1].view(-1)[:6] = torch.tensor([1e-14, 9.9e-15, 1e-30, 9.9e3, 1.01e4, 1e30]) * 1.0001
    gradient[1, 1].view(-1)[:3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    found = counted(planted(few[slice(0, 2)], gradient))
    np.testing.assert_array_equal(found["counts"][0], [0, *[2] * 720, 0])
    np.testing.assert_array_equal(found["counts"][1][[0, 1, 720, 721]], [2, 1, 1, 2])
    np.testing.assert_array_equal(found["invalid"], [0, 3, 0])
    np.testing.assert_array_equal(found["zeros"], [8192 - 1440, 8192 - 9, 8192])
    assert found["counts"].sum() + found["zeros"].sum() + found["invalid"].sum() == gradient.numel()


def test_histogram_is_numpys(cnn, few):
    probe = Probe(cnn, few)
    direction, scale = probe.scaled_gradient()
    exact = (direction.double() * scale.view(-1, 1, 1, 1)).abs().transpose(0, 1).flatten(1).numpy()
    found = counted(probe, "loss")["counts"][:, 1:-1]
    for row, values in zip(found, exact, strict=True):
        expected, _ = np.histogram(values, Histogram.edges())
        # The exponent is float32, about 1e-6 of 14 decades or 4e-5 of a bin: what lies as near to an edge may fall
        # on either side of it, and is then missed by one bin and found by its neighbour.
        place = Histogram.PER_DECADE * np.log10(values[values > 0])
        at_an_edge = (np.abs(place - np.rint(place)) < 1e-4).sum()
        assert np.abs(row - expected).sum() <= 2 * at_an_edge < 0.001 * len(values)
        assert expected.sum() > 0.99 * len(values)


def test_counts_stay_exact_beyond_float32():
    many = 2**24 + 7
    assert _bin(torch.full((many,), -20.0))[0] == many


def test_gray_images_have_one_channel(few):
    gray = Batch(few.image[:, :1], few.target, few.index)
    chosen, probe = ChannelAsymmetry("true_logit"), planted(gray, torch.randn(32, 1, 64, 64))
    tallies = chosen.tallies()
    tallies["histogram"].update(*chosen.observe(probe)["histogram"])
    np.testing.assert_array_equal(tallies["histogram"].state()["counts"].sum(1), [32 * 4096, 0, 0])
    scalars = chosen.summarize(frame(probe, chosen.measure(probe)), tallies).scalars
    assert scalars["luminance_coherence_mean"] == pytest.approx(1)
    assert "share_g_mean" not in scalars


def test_gradients_below_float32_are_counted_as_underflow(few):
    batch = few[slice(0, 2)]
    gradient = torch.full((2, 3, 64, 64), 1e-3)
    found = counted(planted(batch, gradient, torch.tensor([300.0, 1000.0])), "loss")
    np.testing.assert_array_equal(found["counts"][:, 0], [4096] * 3)
    np.testing.assert_array_equal(found["zeros"], [4096] * 3)


# --- units and classes


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
    tallies = chosen.tallies()
    tallies["units"].update(*chosen.observe(Probe(model, batch, needs=("units:act",)))["units"])
    return chosen.summarize(pd.DataFrame(), tallies)


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


def test_selectivity_is_told_unit_by_unit_and_layer_by_layer(cnn, digits):
    chosen = ClassSelectivity()
    chosen.fit(Probe(cnn, digits[slice(0, 32)], needs=("units",)))
    tallies = chosen.tallies()
    for rows in (slice(0, 32), slice(32, 64)):
        tallies["units"].update(*chosen.observe(Probe(cnn, digits[rows], needs=("units",)))["units"])
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


# --- functions as analyzers


def test_function_of_a_probe_is_an_analyzer(cnn, batch):
    columns = Inline(lambda p: {"twice": 2 * p.loss}).measure(Probe(cnn, batch))
    assert torch.equal(columns["twice"], 2 * Probe(cnn, batch).loss)


@pytest.mark.parametrize("column", [lambda p: p.loss.mean(), lambda p: p.gradient(), lambda p: p.loss[:3]])
def test_function_must_give_one_number_an_image(column, cnn, batch):
    with pytest.raises(UserError, match=r"column 'x' has shape .*; wanted one number an image"):
        Inline(lambda p: {"x": column(p)}).measure(Probe(cnn, batch))


def test_an_inline_analyzer_returns_columns_by_name(cnn, digits):
    with pytest.raises(UserError, match="returned a Tensor"):
        Inline(lambda probe: probe.loss).measure(Probe(cnn, digits[slice(0, 4)]))
