"""Shares of the colour channels: their log-ratios, the data's colour axes, units, and recoloured images."""

import numpy as np
import pandas as pd
import pytest
import torch
from planted import frame, planted
from scipy import stats
from scipy.spatial.transform import Rotation
from skimage.color import rgb2gray
from torch import nn

from gradlens import analyze, load_data
from gradlens.analyzers._channel_asymmetry import AXES, GRAY, SHARES, ChannelAsymmetry, PilotColors, _bin
from gradlens.analyzers._color_controls import ColorControls, turned_hue
from gradlens.core.types import Batch
from gradlens.models import load_model
from gradlens.probes.probe import Probe
from gradlens.stats.composition import centred_log_ratios, geometric_ratio, isometric_log_ratios, joint_test, perturb

# --- log-ratios and the joint test


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


def test_joint_test_is_hotellings(shares):
    x = isometric_log_ratios(shares)
    n, p = x.shape
    mean = sum(x) / n
    scatter = sum(np.outer(row - mean, row - mean) for row in x) / (n - 1)
    t_squared = n * mean @ np.linalg.inv(scatter) @ mean
    found = joint_test(x)
    assert found.f == pytest.approx((n - p) / (p * (n - 1)) * t_squared)
    assert found.p == pytest.approx(stats.f.sf(found.f, 2, 498))
    assert found.distance == pytest.approx(np.sqrt(t_squared / n))


def test_one_column_is_students_t(rng):
    x = rng.normal(0.2, 1, (40, 1))
    found, expected = joint_test(x), stats.ttest_1samp(x[:, 0], 0)
    assert found.f == pytest.approx(expected.statistic**2)
    assert found.p == pytest.approx(expected.pvalue)


@pytest.mark.parametrize("order", [[1, 2, 0], [2, 1, 0]])
def test_joint_test_does_not_care_which_channel_comes_first(order, shares):
    np.testing.assert_allclose(
        joint_test(isometric_log_ratios(shares[:, order])), joint_test(isometric_log_ratios(shares)), rtol=1e-9
    )


def test_joint_test_does_not_care_for_the_coordinates_basis(shares, rng):
    x = isometric_log_ratios(shares)
    np.testing.assert_allclose(joint_test(x @ rng.normal(size=(2, 2))), joint_test(x), rtol=1e-9)


def test_p_is_uniform_where_shares_are_even(rng):
    p = [joint_test(rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 2]], 30)).p for _ in range(400)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


DRAWS = {
    "normal": lambda rng, n: rng.normal(size=(n, 2)),
    "skewed": lambda rng, n: rng.exponential(size=(n, 2)) - 1,
    "heavy tailed": lambda rng, n: rng.standard_t(5, size=(n, 2)) / np.sqrt(5 / 3),
}


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("distance", [0.1, 0.5, 1.0])
def test_distances_interval_covers_as_often_as_it_says(draw, distance, rng):
    tests = [joint_test(draw(rng, 500) + distance * np.array([0.6, 0.8])) for _ in range(3000)]
    assert 0.93 <= np.mean([t.low <= distance <= t.high for t in tests]) <= 0.97


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
@pytest.mark.parametrize("distance", [0.5, 2.0])
def test_distances_interval_covers(draw, distance, rng):
    tests = [joint_test(draw(rng, 500) + distance * np.array([0.6, 0.8])) for _ in range(200)]
    # Of 200 intervals of 95 %, fewer than 176 or all of them once in some ten thousand times.
    assert 176 <= sum(t.low <= distance <= t.high for t in tests) < 200


def test_distance_of_no_asymmetry_may_be_zero(rng):
    tests = [joint_test(rng.normal(size=(500, 2))) for _ in range(200)]
    assert np.mean([t.low == 0 for t in tests]) > 0.9
    assert all(t.low <= t.distance and t.high >= 0 for t in tests)


@pytest.mark.parametrize(
    "shares",
    [np.full((50, 3), 1 / 3), np.tile([0.2, 0.5, 0.3], (50, 1)), [[0.2, 0.5, 0.3], [0.3, 0.4, 0.3]], np.empty((0, 3))],
    ids=["even", "constant", "two images", "none"],
)
def test_shares_that_do_not_vary_have_no_test(shares):
    assert np.isnan(joint_test(isometric_log_ratios(shares))).all()


def test_rounding_is_not_variation(rng):
    constant = np.array([0.2, 0.5, 0.3]) * (1 + 1e-7 * rng.normal(size=(50, 3)))
    assert np.isnan(joint_test(isometric_log_ratios(constant))).all()


def test_missing_rows_are_left_out(shares):
    some = np.concatenate([shares, [[0, 0.5, 0.5], [np.nan] * 3]])
    assert joint_test(isometric_log_ratios(some)) == joint_test(isometric_log_ratios(shares))
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


# --- the data's colours


def test_axes_are_the_principal_ones_of_all_pixels(shapes):
    colors = PilotColors()
    colors.add(shapes.image)
    axes, variance = colors.axes()
    values, vectors = np.linalg.eigh(np.cov(shapes.image.double().transpose(0, 1).flatten(1).numpy()))
    np.testing.assert_allclose(variance, values[::-1] / values.sum(), rtol=1e-4)
    np.testing.assert_allclose(np.abs((axes * vectors.T[::-1]).sum(1)), 1, rtol=1e-6)
    assert (axes.sum(1) >= 0).all()


@pytest.mark.parametrize("piece", [1, 7, 64])
def test_axes_do_not_depend_on_the_pilots_pieces(piece, shapes):
    whole, pieces = PilotColors(), PilotColors()
    whole.add(shapes.image)
    for image in shapes.image.split(piece):
        pieces.add(image)
    for found, expected in zip(pieces.axes(), whole.axes(), strict=True):
        np.testing.assert_array_equal(found, expected)


def gray_like(image, noise=0.0):
    return (image.mean(1, keepdim=True).expand(-1, 3, -1, -1) + noise * (torch.rand_like(image) - 0.5)).clamp(0, 1)


def test_gray_is_equal_channels_to_one_level(shapes):
    def is_gray(image):
        colors = PilotColors()
        colors.add(image)
        return colors.gray

    assert not PilotColors().gray
    assert is_gray(shapes.image[:, :1])
    assert is_gray(gray_like(shapes.image))
    levels = (gray_like(shapes.image) * 254).round() + (torch.rand_like(shapes.image) < 0.5)
    assert is_gray(levels / 255)
    assert not is_gray(gray_like(shapes.image, 0.02))
    assert not is_gray(shapes.image)


def test_one_coloured_pixel_in_an_early_piece_is_remembered(shapes):
    colors, image = PilotColors(), gray_like(shapes.image)
    image[3, 0, 5, 5] += 0.1
    for piece in image.clamp(0, 1).split(2):
        colors.add(piece)
    assert not colors.gray


# --- channel_asymmetry


class Normalising(nn.Module):
    """A network's own gradient is the planted one; its input is divided by std first."""

    def __init__(self, gradient, std, classes=32):
        super().__init__()
        self.gradient, self.classes = gradient, classes
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, image):
        value = (self.gradient * image / self.std).flatten(1).sum(1)
        return value[:, None] * torch.ones(self.classes)


@pytest.fixture
def few(shapes):
    return shapes[slice(0, 32)]


def fitted(pilot, analyzer=ChannelAsymmetry, **parameters):
    chosen = analyzer(objective="true_logit", **parameters)
    chosen.fit(pilot)
    return chosen


def summary_of(chosen, probe):
    tallies = chosen.tallies()
    for name, values in chosen.observe(probe).items():
        tallies[name].update(*values)
    return chosen.summarize(frame(probe, chosen.measure(probe)), tallies)


def test_energy_along_the_colour_axes_is_that_of_projections(few):
    gradient = torch.randn_like(few.image) * torch.tensor([1, 2, 0.5]).view(3, 1, 1)
    probe = planted(few, gradient)
    chosen = fitted(probe)
    axes = torch.from_numpy(chosen._colors.axes()[0])
    for k, column in enumerate(AXES):
        along = [(torch.tensordot(axes[k], g.double(), 1) ** 2).sum() / (g.double() ** 2).sum() for g in gradient]
        torch.testing.assert_close(chosen.measure(probe)[column], torch.stack(along), rtol=1e-9, atol=0)


@pytest.mark.parametrize("k", [0, 1, 2])
def test_gradient_along_one_colour_axis_is_found_there(k, few):
    axis = torch.from_numpy(fitted(planted(few, few.image))._colors.axes()[0][k]).float().view(3, 1, 1)
    probe = planted(few, axis * torch.randn_like(few.image[:, :1]))
    columns = fitted(probe).measure(probe)
    for j, column in enumerate(AXES):
        assert columns[column].mean().item() == pytest.approx(float(j == k), abs=1e-6)


def test_noise_ignores_the_colour_axes(few):
    probe = planted(few, torch.randn_like(few.image))
    columns = fitted(probe).measure(probe)
    torch.testing.assert_close(sum(columns[c] for c in AXES), torch.ones(32, dtype=torch.float64))
    for column in AXES:
        assert columns[column].mean().item() == pytest.approx(1 / 3, abs=0.01)


def test_columns_keep_their_digits_under_autocast(few, cnn):
    chosen, probe = fitted(Probe(cnn, few)), Probe(cnn, few)
    expected = chosen.measure(probe)
    with torch.autocast("cpu", torch.bfloat16):
        found = chosen.measure(probe)
    assert all(torch.equal(found[name], values) for name, values in expected.items())


def test_a_network_even_in_its_own_units_is_uneven_per_pixel(few, rng):
    std = [0.229, 0.224, 0.225]
    # Channels of the same values at other places, of sizes that differ by 0.3 % between images.
    pixels = rng.permuted(np.tile(rng.laplace(size=64 * 64), (32, 3, 1)), axis=2)
    sizes = 1 + 0.003 * rng.normal(size=(32, 3, 1))
    probe = Probe(Normalising(torch.from_numpy(sizes * pixels).float().view(32, 3, 64, 64), std), few)
    scalars, _, missing = summary_of(fitted(probe), probe)
    assert missing == {}
    assert scalars["g_over_r_mean"] == pytest.approx(0.229 / 0.224, abs=3e-3)
    assert scalars["g_over_b_mean"] == pytest.approx(0.225 / 0.224, abs=3e-3)
    assert scalars["g_over_r_sigma_mean"] == pytest.approx(1, abs=3e-3)
    assert scalars["share_r_sigma_mean"] == pytest.approx(1 / 3, abs=1e-3)
    assert scalars["asymmetry_p"] < 1e-6 < 1e-3 < scalars["asymmetry_p_sigma"]
    assert scalars["asymmetry_distance_low"] > 2 > 1 > scalars["asymmetry_distance_sigma"]


def test_sigma_units_are_the_gradient_of_the_normalised_input(cnn, few):
    probe = Probe(cnn, few)
    scalars = summary_of(fitted(probe), probe).scalars
    normalised = ((few.image - cnn.mean) / cnn.std).requires_grad_()
    value = cnn.net(normalised).gather(1, few.target[:, None]).sum()
    l1 = torch.autograd.grad(value, normalised)[0].double().abs().sum((2, 3))
    expected = l1 / l1.sum(1, keepdim=True)
    for k, name in enumerate(SHARES):
        assert scalars[f"{name}_sigma_mean"] == pytest.approx(expected[:, k].mean().item(), rel=1e-5)
    assert scalars["g_over_b_sigma_mean"] == pytest.approx(stats.gmean(expected[:, 1] / expected[:, 2]), rel=1e-5)
    assert scalars["asymmetry_f_sigma"] == pytest.approx(joint_test(isometric_log_ratios(expected)).f, rel=1e-3)


@pytest.mark.parametrize("std", [None, (1.0, 1.0, 1.0)])
def test_a_model_that_does_not_normalise_has_no_sigma_units(std, few):
    gradient = torch.randn_like(few.image)
    probe = Probe(Normalising(gradient, std), few) if std else planted(few, gradient)
    scalars, _, missing = summary_of(fitted(probe), probe)
    assert list(missing) == ["asymmetry_distance_sigma"]
    assert [name for name in scalars if "sigma" in name] == []
    assert np.isfinite(scalars["asymmetry_distance"])


def test_an_image_with_a_dead_channel_is_left_out_and_counted(few):
    gradient = torch.randn_like(few.image)
    sound = planted(few[slice(2, 32)], gradient[2:])
    gradient[0, 1], gradient[1] = 0, 0
    probe = planted(few, gradient)
    found, expected = (summary_of(fitted(p), p).scalars for p in (probe, sound))
    assert (found["images_with_zero_share"], expected["images_with_zero_share"]) == (1, 0)
    for name in ("g_over_r_mean", "g_over_b_mean_low", "asymmetry_f", "asymmetry_distance", "log_ratio_b_mean"):
        assert found[name] == pytest.approx(expected[name]), name


@pytest.mark.parametrize("channels", [1, 3])
def test_gray_images_carry_no_channel_claim(channels, few):
    gray = Batch(gray_like(few.image)[:, :channels], few.target, few.index)
    probe = planted(gray, torch.randn(32, channels, 64, 64))
    chosen = fitted(probe)
    columns = chosen.measure(probe)
    assert columns["share_r"].isfinite().all()
    assert columns["color_axis_1"].isnan().all()
    scalars, arrays, missing = summary_of(chosen, probe)
    assert set(scalars) == {f"luminance_coherence_mean{end}" for end in ("", "_low", "_high")}
    assert set(missing.values()) == {GRAY}
    wanted = {reading.key for reading in chosen.readings}
    assert wanted - set(scalars) == set(missing)
    assert arrays["histogram/counts"].sum() > 0


def test_images_of_one_tint_have_no_three_axes(few):
    tint = torch.tensor([1.0, 0.7, 0.3]).view(3, 1, 1)
    tinted = Batch(gray_like(few.image) * tint, few.target, few.index)
    probe = planted(tinted, torch.randn_like(few.image))
    scalars, _, missing = summary_of(fitted(probe), probe)
    assert "three distinct axes" in missing["color_axis_1_mean"]
    assert np.isnan(scalars["color_axis_1_mean"])
    assert np.isfinite(scalars["share_r_mean"])


@pytest.mark.parametrize("images", [0, 2])
def test_too_few_images_have_no_test(images, few):
    batch = few[slice(0, 32)]
    gradient = torch.randn_like(few.image)
    gradient[images:] = 0
    probe = planted(batch, gradient)
    scalars, _, missing = summary_of(fitted(probe), probe)
    assert np.isnan(scalars["asymmetry_p"])
    assert "fewer than three images" in missing["asymmetry_distance"]
    assert ("g_over_r_mean" in missing) == (images == 0)


def test_special_logarithms_have_slots_of_their_own():
    exponent = torch.tensor([-torch.inf, -torch.inf, -400.0, -14.01, -13.99, 3.99, 4.01, 60, torch.inf, torch.nan])
    slots = _bin(exponent)
    assert len(slots) == 724
    assert slots[[0, 1, 720, 721, 722, 723]].tolist() == [2, 1, 1, 2, 2, 2]


def test_a_run_on_gray_digits_says_why_channels_are_missing(cnn):
    run = analyze(cnn, load_data("digits").limit(20), ["channel_asymmetry", "color_controls"], progress=False)
    assert run.provenance["missing"]["share_r_mean"] == run.provenance["missing"]["r_over_b_model_mean"] == GRAY
    assert "share_r_mean" not in run.headline


# --- color_controls


class Following(nn.Module):
    """The label's logit is Σ w_c x_c² / 2, whose gradient follows the image: ``w x``."""

    def __init__(self, weight=(1.0, 1.0, 1.0)):
        super().__init__()
        self.register_buffer("weight", torch.tensor(weight).view(1, 3, 1, 1))

    def forward(self, image):
        value = (self.weight * image**2 / 2).flatten(1).sum(1)
        return value[:, None] * torch.ones(32)


def shares_of(columns, control=""):
    return torch.stack([columns[f"{name}{control}"] for name in SHARES], 1)


def test_shares_that_follow_the_image_move_with_its_channels(few):
    probe = Probe(Following(), few)
    columns, own = fitted(probe, ColorControls).measure(probe), shares_of(fitted(probe).measure(probe))
    torch.testing.assert_close(shares_of(columns, "[swapped]"), own[:, [2, 1, 0]], rtol=1e-6, atol=0)
    torch.testing.assert_close(shares_of(columns, "[rotated]"), own[:, [2, 0, 1]], rtol=1e-6, atol=0)
    torch.testing.assert_close(shares_of(columns, "[gray]"), torch.full((32, 3), 1 / 3).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(columns["log_r_over_b_image"], (own[:, 0] / own[:, 2]).log(), rtol=1e-5, atol=1e-6)
    assert columns["log_r_over_b_model"].abs().max() < 1e-6
    assert (columns["clipped[rotated]"] == 0).all()


def test_shares_of_the_model_stay(few):
    probe = planted(few, torch.rand_like(few.image) * torch.tensor([1, 2, 4.0]).view(3, 1, 1))
    columns, own = fitted(probe, ColorControls).measure(probe), shares_of(fitted(probe).measure(probe))
    for control in ("[swapped]", "[gray]", "[rotated]"):
        torch.testing.assert_close(shares_of(columns, control), own, rtol=1e-6, atol=0)
    assert columns["log_r_over_b_image"].abs().max() < 1e-6


def test_an_asymmetry_of_both_is_split_into_both(few):
    weight = (3.0, 1.0, 0.5)
    probe = Probe(Following(weight), few)
    chosen = fitted(probe, ColorControls)
    columns = chosen.measure(probe)
    size = few.image.double().sum((2, 3))
    torch.testing.assert_close(
        columns["log_r_over_b_model"], torch.full((32,), np.log(6.0)).double(), rtol=1e-5, atol=0
    )
    torch.testing.assert_close(columns["log_r_over_b_image"], (size[:, 0] / size[:, 2]).log(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        shares_of(columns, "[gray]"), (torch.tensor(weight) / 4.5).expand(32, 3).double(), rtol=1e-6, atol=0
    )
    scalars = chosen.summarize(frame(probe, columns), {}).scalars
    assert scalars["r_over_b_model_mean"] == pytest.approx(6, rel=1e-5)
    assert scalars["r_over_b_image_mean"] == pytest.approx(stats.gmean(size[:, 0] / size[:, 2]), rel=1e-5)
    assert scalars["r_over_b_image_mean_low"] < scalars["r_over_b_image_mean"] < scalars["r_over_b_image_mean_high"]


def test_control_images_keep_label_and_are_what_they_are_called(few):
    seen = []

    class Watching(Following):
        def forward(self, image):
            seen.append(image.detach().clone())
            return super().forward(image)

    probe = Probe(Watching(), few)
    fitted(probe, ColorControls, hue=60.0).measure(probe)
    own = next(image for image in seen if torch.equal(image, few.image))
    swapped, gray, turned = (image for image in seen if image is not own)
    assert torch.equal(swapped, own[:, [2, 1, 0]])
    expected = rgb2gray(own.double().permute(0, 2, 3, 1).numpy())
    for channel in gray.unbind(1):
        np.testing.assert_allclose(channel, expected, rtol=0, atol=1e-6)
    assert turned.min() >= 0
    assert turned.max() <= 1


@pytest.mark.parametrize("degrees", [0, 60, 120, 200, -120])
def test_hue_is_turned_about_the_gray_axis(degrees, few):
    matrix = Rotation.from_rotvec(np.radians(degrees) * np.ones(3) / np.sqrt(3)).as_matrix()
    expected = np.einsum("dc,bchw->bdhw", matrix, few.image.double().numpy())
    np.testing.assert_allclose(turned_hue(few.image, degrees), expected, rtol=0, atol=1e-6)
    probe = Probe(Following(), few)
    clipped = fitted(probe, ColorControls, hue=float(degrees)).measure(probe)["clipped[rotated]"]
    outside = ((expected < -1e-6) | (expected > 1 + 1e-6)).mean((1, 2, 3))
    np.testing.assert_allclose(clipped, outside, rtol=0, atol=1e-4)
    assert (outside.max() > 0.01) == (degrees % 120 != 0)


def test_one_channel_cannot_be_recoloured(few):
    gray = Batch(few.image[:, :1], few.target, few.index)
    probe = planted(gray, torch.randn(32, 1, 64, 64))
    chosen = fitted(probe, ColorControls)
    columns = chosen.measure(probe)
    assert all(values.isnan().all() for values in columns.values())
    assert list(columns) == list(fitted(planted(few, few.image), ColorControls).measure(planted(few, few.image)))
    assert set(chosen.summarize(frame(probe, columns), {}).missing.values()) == {GRAY}


def test_controls_stand_beside_the_channels_in_a_run(few):
    model = load_model(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 8)), mean=(0.5,) * 3, std=(0.2, 0.25, 0.3))
    data = load_data("photos").limit(24)
    run = analyze(model, data, ["channel_asymmetry", "color_controls"], progress=False)
    samples: pd.DataFrame = run.samples
    # A linear model's logits have one gradient each; the loss mixes them by the image.
    assert (samples["share_r[swapped]"] - samples["share_r"]).abs().max() > 0
    whole = np.log(samples["share_r"] / samples["share_b"])
    np.testing.assert_allclose(samples["log_r_over_b_model"] + samples["log_r_over_b_image"], whole, atol=1e-12)
    assert run.provenance["missing"] == {}
