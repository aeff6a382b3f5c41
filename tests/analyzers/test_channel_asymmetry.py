"""Channel shares and colour axes are found as planted, in pixels and in the model's own units."""

import numpy as np
import pytest
import torch
from planted import gray_like, planted, summarized
from scipy import stats
from torch import nn

from gradlens import analyze, load_data
from gradlens.analyzers._channel_asymmetry import AXES, GRAY, SHARES, ChannelAsymmetry
from gradlens.core.types import Batch
from gradlens.probes.probe import Probe
from gradlens.stats.composition import isometric_log_ratios, mean_distance


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


class Normalising(nn.Module):
    """A network's own gradient is the planted one; its input is divided by std first."""

    def __init__(self, gradient, std, classes=32):
        super().__init__()
        self.gradient, self.classes = gradient, classes
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, image):
        value = (self.gradient * image / self.std).flatten(1).sum(1)
        return value[:, None] * torch.ones(self.classes)


def fitted(pilot):
    chosen = ChannelAsymmetry("true_logit")
    chosen.fit(pilot)
    return chosen


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
    scalars, _, missing = summarized(fitted(probe), probe)
    assert missing == {}
    assert scalars["g_over_r_mean"] == pytest.approx(0.229 / 0.224, abs=3e-3)
    assert scalars["g_over_b_mean"] == pytest.approx(0.225 / 0.224, abs=3e-3)
    assert scalars["g_over_r_sigma_mean"] == pytest.approx(1, abs=3e-3)
    assert scalars["share_r_sigma_mean"] == pytest.approx(1 / 3, abs=1e-3)
    assert scalars["asymmetry_distance_low"] > 2 > 1 > scalars["asymmetry_distance_sigma"]


def test_sigma_units_are_the_gradient_of_the_normalised_input(cnn, few):
    probe = Probe(cnn, few)
    scalars = summarized(fitted(probe), probe).scalars
    normalised = ((few.image - cnn.mean) / cnn.std).requires_grad_()
    value = cnn.net(normalised).gather(1, few.target[:, None]).sum()
    l1 = torch.autograd.grad(value, normalised)[0].double().abs().sum((2, 3))
    expected = l1 / l1.sum(1, keepdim=True)
    for k, name in enumerate(SHARES):
        assert scalars[f"{name}_sigma_mean"] == pytest.approx(expected[:, k].mean().item(), rel=1e-5)
    assert scalars["g_over_b_sigma_mean"] == pytest.approx(stats.gmean(expected[:, 1] / expected[:, 2]), rel=1e-5)
    distance = mean_distance(isometric_log_ratios(expected))[0]
    assert scalars["asymmetry_distance_sigma"] == pytest.approx(distance, rel=1e-3)


@pytest.mark.parametrize("std", [None, (1.0, 1.0, 1.0)])
def test_a_model_that_does_not_normalise_has_no_sigma_units(std, few):
    gradient = torch.randn_like(few.image)
    probe = Probe(Normalising(gradient, std), few) if std else planted(few, gradient)
    scalars, _, missing = summarized(fitted(probe), probe)
    assert list(missing) == ["asymmetry_distance_sigma"]
    assert [name for name in scalars if "sigma" in name] == []
    assert np.isfinite(scalars["asymmetry_distance"])


def test_an_image_with_a_dead_channel_is_left_out_and_counted(few):
    gradient = torch.randn_like(few.image)
    sound = planted(few[slice(2, 32)], gradient[2:])
    gradient[0, 1], gradient[1] = 0, 0
    probe = planted(few, gradient)
    found, expected = (summarized(fitted(p), p).scalars for p in (probe, sound))
    assert (found["images_with_zero_share"], expected["images_with_zero_share"]) == (1, 0)
    for name in ("g_over_r_mean", "g_over_b_mean_low", "asymmetry_distance", "log_ratio_b_mean"):
        assert found[name] == pytest.approx(expected[name]), name


@pytest.mark.parametrize("channels", [1, 3])
def test_gray_images_carry_no_channel_claim(channels, few):
    gray = Batch(gray_like(few.image)[:, :channels], few.target, few.index)
    probe = planted(gray, torch.randn(32, channels, 64, 64))
    chosen = fitted(probe)
    columns = chosen.measure(probe)
    assert columns["share_r"].isfinite().all()
    assert columns["color_axis_1"].isnan().all()
    scalars, arrays, missing = summarized(chosen, probe)
    assert set(scalars) == {f"luminance_coherence_mean{end}" for end in ("", "_low", "_high")}
    assert set(missing.values()) == {GRAY}
    wanted = {reading.key for reading in chosen.readings}
    assert wanted - set(scalars) == set(missing)
    assert arrays["histogram/counts"].sum() > 0


def test_images_of_one_tint_have_no_three_axes(few):
    tint = torch.tensor([1.0, 0.7, 0.3]).view(3, 1, 1)
    tinted = Batch(gray_like(few.image) * tint, few.target, few.index)
    probe = planted(tinted, torch.randn_like(few.image))
    scalars, _, missing = summarized(fitted(probe), probe)
    assert "three distinct axes" in missing["color_axis_1_mean"]
    assert np.isnan(scalars["color_axis_1_mean"])
    assert np.isfinite(scalars["share_r_mean"])


@pytest.mark.parametrize("images", [0, 2])
def test_too_few_images_have_no_distance(images, few):
    batch = few[slice(0, 32)]
    gradient = torch.randn_like(few.image)
    gradient[images:] = 0
    probe = planted(batch, gradient)
    scalars, _, missing = summarized(fitted(probe), probe)
    assert np.isnan(scalars["asymmetry_distance"])
    assert not any(name.startswith("asymmetry_p") for name in scalars)
    assert "fewer than three images" in missing["asymmetry_distance"]
    assert ("g_over_r_mean" in missing) == (images == 0)


def test_a_run_on_gray_digits_says_why_channels_are_missing(cnn):
    run = analyze(cnn, load_data("digits").limit(20), ["channel_asymmetry", "color_controls"], progress=False)
    assert run.provenance["missing"]["share_r_mean"] == run.provenance["missing"]["r_over_b_model_mean"] == GRAY
    assert "share_r_mean" not in run.headline
