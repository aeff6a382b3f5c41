"""The gradient's energy by spatial frequency is that of the full transform, of analytic images and of noise."""

import numpy as np
import pytest
import torch
from planted import planted
from scipy import stats
from torch import nn

from gradlens import Run, UserError, analyze, load_data
from gradlens.analyzers._gradient_spectrum import EDGES, RINGS, GradientSpectrum, radial_spectrum
from gradlens.core.types import Batch
from gradlens.models import load_model
from gradlens.plotting import draw

SIZES = [(8, 8), (9, 7), (16, 33), (64, 64), (1, 12)]
# Of white noise: the mean radius and the area outside a quarter cycle, over the square of frequencies.
WHITE_CENTROID = (np.sqrt(2) + np.log(1 + np.sqrt(2))) / 6
WHITE_HIGH = 1 - np.pi / 16


def frequencies(height, width):
    return np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))


def slow_spectrum(image):
    """Energy a ring and mean frequency of ``(C, H, W)``, coefficient by coefficient of the full transform."""
    radius = frequencies(*image.shape[1:])
    energy, weighted = np.zeros(RINGS), 0.0
    for channel in image.astype(np.float64):
        power = np.abs(np.fft.fft2(channel)) ** 2 / channel.size
        for r, value in zip(radius.ravel()[1:], power.ravel()[1:], strict=True):
            energy[max(np.flatnonzero(r >= EDGES).max(initial=0), 0)] += value
            weighted += r * value
    return energy, weighted / energy.sum()


def coloured(shape, exponent, seed=0):
    """Noise whose energy falls with frequency to this power."""
    radius = frequencies(*shape[-2:])
    radius[0, 0] = 1
    noise = np.random.default_rng(seed).normal(size=shape)
    return torch.from_numpy(np.fft.ifft2(np.fft.fft2(noise) * radius ** (exponent / 2)).real).float()


def columns_of(gradient):
    """What is measured of images whose gradient this is."""
    image = torch.rand_like(gradient)
    batch = Batch(image, torch.zeros(len(image), dtype=torch.int64), torch.arange(len(image)))
    return GradientSpectrum("true_logit").measure(planted(batch, gradient))


def summary_of(*probes):
    chosen = GradientSpectrum("true_logit")
    tallies, rows = chosen.tallies(), []
    for probe in probes:
        chosen.fit(probe)
        rows.append(chosen.measure(probe))
        for name, values in chosen.observe(probe).items():
            tallies[name].update(*values)
    columns = {name: torch.cat([row[name] for row in rows]).numpy() for name in rows[0]}
    return chosen.summarize(columns, tallies)


@pytest.mark.parametrize("size", SIZES)
def test_rings_are_those_of_the_full_transform(size, rng):
    images = rng.normal(1, 0.3, (2, 3, *size))
    found = radial_spectrum(torch.from_numpy(images))
    for k, image in enumerate(images):
        energy, centroid = slow_spectrum(image)
        np.testing.assert_allclose(found.energy[k], energy, rtol=1e-9, atol=1e-9)
        assert found.centroid[k].item() == pytest.approx(centroid)


@pytest.mark.parametrize("size", SIZES)
def test_energy_is_the_squared_norm_without_the_means(size, rng):
    images = torch.from_numpy(rng.normal(5, 2, (4, 3, *size)))
    apart = images - images.mean((2, 3), keepdim=True)
    torch.testing.assert_close(radial_spectrum(images).energy.sum(1), apart.square().sum((1, 2, 3)))


def test_octaves_and_the_quarter_cycle_begin_with_a_ring():
    assert {1 / 16, 1 / 8, 1 / 4, 1 / 2} <= set(EDGES)
    np.testing.assert_allclose(EDGES[1:] / EDGES[:-1], 2 ** (1 / 3))
    assert EDGES[-2] < np.sqrt(0.5) < EDGES[-1]


@pytest.mark.parametrize(("rows", "columns"), [(3, 0), (0, 7), (5, 12), (20, 25), (32, 32), (16, 0), (0, 32)])
def test_a_plane_wave_has_one_frequency(rows, columns):
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    wave = torch.cos(2 * np.pi * (rows * y + columns * x) / 64 + 0.4) * torch.tensor([1, -2, 0.5]).view(3, 1, 1)
    found, frequency = columns_of(wave[None]), np.hypot(rows, columns) / 64
    assert found["spectrum_centroid"].item() == pytest.approx(frequency, abs=1e-5)
    assert found["spectrum_high"].item() == pytest.approx(float(frequency >= 0.25), abs=1e-5)
    energy = radial_spectrum(wave[None]).energy[0]
    assert energy.argmax() == np.flatnonzero(frequency >= EDGES).max()
    assert energy.max() / energy.sum() == pytest.approx(1, abs=1e-5)


def test_white_noise_is_flat():
    found = columns_of(torch.randn(64, 3, 96, 96))
    for name, expected, deviation in (
        ("spectrum_centroid", WHITE_CENTROID, 1e-3),
        ("spectrum_high", WHITE_HIGH, 3e-3),
        ("spectrum_slope", 0, 5e-3),
    ):
        assert found[name].mean().item() == pytest.approx(expected, abs=deviation), name


@pytest.mark.parametrize("exponent", [-3, -2, -1, 1])
def test_slope_is_the_power_of_the_frequency(exponent):
    found = columns_of(coloured((32, 3, 128, 128), exponent))["spectrum_slope"]
    assert found.mean().item() == pytest.approx(exponent, abs=0.03)


@pytest.mark.parametrize("change", ["scale", "tiny", "offset", "shift", "flip", "transpose", "sign"])
def test_spectrum_ignores(change):
    gradient = coloured((4, 3, 48, 48), -1)
    changed = {
        "scale": gradient * 1e6,
        "tiny": gradient * 1e-25,
        "offset": gradient + 2,
        "shift": gradient.roll((5, -11), (2, 3)),
        "flip": gradient.flip(3),
        "transpose": gradient.mT,
        "sign": -gradient,
    }[change]
    found, expected = columns_of(changed.contiguous()), columns_of(gradient)
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, rtol=1e-4, atol=1e-5)


def test_a_finer_gradient_has_higher_frequencies():
    smooth, rough = (columns_of(coloured((8, 3, 64, 64), e)) for e in (-2, 0))
    for name, values in rough.items():
        assert (smooth[name] < values).all(), name


@pytest.mark.parametrize("value", [0.0, 0.7, torch.nan])
def test_a_gradient_without_structure_has_no_spectrum(value):
    gradient = torch.randn(4, 3, 32, 32)
    gradient[1] = value
    batch = Batch(torch.rand(4, 3, 32, 32), torch.zeros(4, dtype=torch.int64), torch.arange(4))
    probe = planted(batch, gradient)
    chosen = GradientSpectrum("true_logit")
    rest = torch.tensor([0, 2, 3])
    for name, values in chosen.measure(probe).items():
        assert values[1].isnan(), name
        assert values[rest].isfinite().all(), name
    tally = chosen.tallies()["gradient"]
    tally.update(*chosen.observe(probe)["gradient"])
    assert set(tally.count) == {3}


def test_small_images_have_no_octave_for_a_slope(rng):
    batch = Batch(torch.rand(6, 3, 8, 8), torch.zeros(6, dtype=torch.int64), torch.arange(6))
    scalars, _, missing = summary_of(planted(batch, torch.randn(6, 3, 8, 8)))
    assert np.isnan(scalars["spectrum_slope_mean"])
    assert "both octaves" in missing["spectrum_slope_mean"]
    assert list(missing) == ["spectrum_slope_mean"]


def test_mean_spectrum_is_that_of_every_image_alone(rng):
    gradients, images = coloured((12, 3, 40, 40), -1), torch.rand(12, 3, 40, 40)
    batches = [Batch(images[r], torch.zeros(6, dtype=torch.int64), r) for r in torch.arange(12).split(6)]
    arrays = summary_of(*(planted(b, gradients[b.index]) for b in batches)).arrays
    ring = np.maximum(np.searchsorted(EDGES, frequencies(40, 40).ravel()[1:], side="right") - 1, 0)
    coefficients = np.bincount(ring, minlength=RINGS)
    for name, stack in (("gradient", gradients), ("image", images)):
        profiles = []
        for image in stack.numpy():
            energy, _ = slow_spectrum(image)
            with np.errstate(invalid="ignore"):
                profiles.append(energy / coefficients / (energy.sum() / coefficients.sum()))
        seen = coefficients > 0
        np.testing.assert_allclose(arrays[f"{name}_mean"][seen], np.mean(profiles, 0)[seen], rtol=1e-4)
        np.testing.assert_allclose(arrays[f"{name}_error"][seen], stats.sem(profiles)[seen], rtol=1e-3)
        assert np.isnan(arrays[f"{name}_mean"][~seen]).all()
    np.testing.assert_array_equal(arrays["edges"], EDGES)


@pytest.mark.parametrize("side", [64, 128])
def test_white_noise_lies_at_one_at_any_size(side):
    batch = Batch(torch.rand(16, 3, side, side), torch.zeros(16, dtype=torch.int64), torch.arange(16))
    arrays = summary_of(planted(batch, torch.randn(16, 3, side, side))).arrays
    for name in ("gradient", "image"):
        seen = np.isfinite(arrays[f"{name}_mean"])
        assert (np.abs(arrays[f"{name}_mean"] - 1) < 5 * arrays[f"{name}_error"])[seen].all()
        assert np.abs(arrays[f"{name}_mean"][-9:] - 1).max() < 0.05


@pytest.fixture(scope="module")
def runs():
    found = []
    for name, blur in (("sharp", nn.Identity()), ("blurred", nn.AvgPool2d(3, 1, 1))):
        torch.manual_seed(0)
        net = nn.Sequential(
            blur, nn.Conv2d(3, 8, 3), nn.GELU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 8)
        )
        model = load_model(net, mean=(0.5,) * 3, std=(0.2,) * 3)
        run = analyze(model, load_data("photos").limit(32), "gradient_spectrum", progress=False)
        run.summary["model"] = name
        found.append(run)
    return found


def test_a_model_that_blurs_has_a_smoother_gradient(runs):
    sharp, blurred = runs
    assert blurred.summary["spectrum_high_mean"] < 0.7 * sharp.summary["spectrum_high_mean"]
    arrays = [run.arrays["gradient_spectrum/image_mean"] for run in runs]
    np.testing.assert_array_equal(*arrays)
    # Photographs fall with the square of the frequency.
    centre, seen = np.sqrt(EDGES[1:] * EDGES[:-1]), np.isfinite(arrays[0])
    slope = stats.linregress(np.log(centre[seen]), np.log(arrays[0][seen])).slope
    assert -3 < slope < -1.5


def test_the_figure_draws_the_runs_arrays(runs):
    ax = draw("gradient_spectrum", runs).axes[0]
    lines = {line.get_label(): line for line in ax.lines}
    assert list(lines) == ["sharp", "blurred", "images", "white noise"]
    drawn = {"sharp": (runs[0], "gradient"), "blurred": (runs[1], "gradient"), "images": (runs[0], "image")}
    for label, (run, what) in drawn.items():
        mean = run.arrays[f"gradient_spectrum/{what}_mean"]
        np.testing.assert_array_equal(lines[label].get_ydata(), mean[mean > 0])
        assert EDGES[:-1][mean > 0][0] < lines[label].get_xdata()[0] < EDGES[1:][mean > 0][0]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xlim()[0] > 1 / 128


def test_runs_over_other_images_draw_those_too(runs):
    arrays = {**runs[1].arrays, "gradient_spectrum/image_mean": runs[1].arrays["gradient_spectrum/image_mean"] * 2}
    other = Run(runs[1].samples, {**runs[1].summary, "model": "other"}, arrays, runs[1].provenance)
    labels = [line.get_label() for line in draw("gradient_spectrum", [runs[0], other]).axes[0].lines]
    assert {"images of other", "images of sharp"} <= set(labels)


def test_a_run_without_a_spectrum_is_told_how_to_get_one(runs):
    bare = Run(runs[0].samples, runs[0].summary)
    with pytest.raises(UserError, match="--analyzers gradient_spectrum"):
        draw("gradient_spectrum", [bare])
    arrays = {**runs[0].arrays, "gradient_spectrum/gradient_mean": np.full(RINGS, np.nan)}
    with pytest.raises(UserError, match="no gradient with energy"):
        draw("gradient_spectrum", [Run(runs[0].samples, runs[0].summary, arrays)])
