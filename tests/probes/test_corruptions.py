"""Corruptions do what their descriptions say, to one image at a time, of any size and number of channels."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import convolve, gaussian_filter, map_coordinates
from skimage.color import hsv2rgb, rgb2hsv
from skimage.data import chelsea
from skimage.transform import resize

import gradlens as gl
from gradlens.core.registry import corruption
from gradlens.probes.corruptions import _blur, _digital, _weather

NAMES = list(corruption)


@pytest.fixture(scope="module")
def picture():
    """A photograph ``(224, 224, 3)`` in whole gray levels."""
    return (resize(chelsea()[:300, 60:360], (224, 224), anti_aliasing=True) * 255).round() / 255


def corrupted(image, name, severity, seed=0):
    """By the public function, on an image ``(H, W, C)``."""
    given = torch.from_numpy(image).permute(2, 0, 1)[None]
    return gl.corrupt(given, name, severity, seed)[0].permute(1, 2, 0).numpy()


def random(seed=0):
    return np.random.default_rng(seed)


# --- all of them


def test_there_are_the_fifteen_common_ones():
    assert {
        *("gaussian_noise", "shot_noise", "impulse_noise"),
        *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
        *("snow", "frost", "fog", "brightness"),
        *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    } <= {*NAMES}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1, 1), (2, 3, 1), (32, 32, 3), (40, 23, 4), (90, 120, 3)])
def test_any_size_and_number_of_channels_is_changed_within_its_range(name, shape):
    image = random(1).random(shape)
    for severity in (1, 5):
        found = corrupted(image, name, severity)
        assert found.shape == shape
        assert found.min() >= 0
        assert found.max() <= 1
    assert min(shape) < 23 or np.abs(found - image).mean() > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_changed_alike_alone_and_among_others_and_by_another_seed_otherwise(name):
    images = torch.from_numpy(random(1).random((3, 3, 40, 40)))
    whole = gl.corrupt(images, name, 3, seed=1)
    assert torch.equal(gl.corrupt(images[2:], name, 3, seed=1, index=[2]), whole[2:])
    drawn = name not in ("brightness", "contrast", "defocus_blur", "jpeg_compression", "pixelate", "zoom_blur")
    assert torch.equal(gl.corrupt(images, name, 3, seed=2), whole) != drawn


@pytest.mark.parametrize("name", sorted({*NAMES} - {"elastic_transform", "frost"}))
def test_a_higher_severity_changes_more(name, picture):
    # Elastic transform's published severities begin with two kinds of field, of which none is the stronger; frost
    # dims the picture by as much as ice brightens it.
    far = [
        np.mean([np.abs(corrupted(picture, name, s, seed) - picture).mean() for seed in range(2)]) for s in (1, 3, 5)
    ]
    assert far[0] < far[1] < far[2]


def test_small_images_take_the_severities_of_cifar():
    gray = {side: np.full((side, side, 1), 0.5) for side in (32, 84, 85, 224)}
    spread = [corrupted(gray[side], "gaussian_noise", 1).std() for side in gray]
    np.testing.assert_allclose(spread, [0.04, 0.04, 0.08, 0.08], rtol=0.1)


# --- noise


def test_noise_has_its_mean_and_variance():
    gray = np.full((224, 224, 3), 0.4)
    n = gray.size
    for name, variance in (("gaussian_noise", 0.08**2), ("shot_noise", 0.4 / 60)):
        found = corrupted(gray, name, 1)
        # Five deviations of the mean, and of the variance of normal numbers.
        assert abs(found.mean() - 0.4) < 5 * (variance / n) ** 0.5
        assert abs(found.var() / variance - 1) < 5 * (2 / n) ** 0.5


def test_impulses_are_half_salt_and_half_pepper():
    found = corrupted(np.full((224, 224, 3), 0.4), "impulse_noise", 4)
    for value in (0, 1):
        assert abs((found == value).mean() - 0.17 / 2) < 5 * (0.085 / found.size) ** 0.5
    assert set(np.unique(found)) == {0, 0.4, 1}


# --- blur


@pytest.mark.parametrize(("severity", "radius"), [(1, 3), (4, 8), (5, 10)])
def test_defocus_is_a_convolution_with_a_disk(severity, radius, picture):
    reach = max(8, radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    kernel = _blur._disk(radius, 1e-9)
    np.testing.assert_allclose(kernel, (x**2 + y**2 <= radius**2) / (x**2 + y**2 <= radius**2).sum(), atol=1e-15)
    kernel = _blur._disk(radius, 0.1 if severity == 1 else 0.5)
    slow = np.stack([convolve(picture[..., c], kernel, mode="mirror") for c in range(3)], 2)
    np.testing.assert_allclose(corrupted(picture, "defocus_blur", severity), slow.clip(0, 1), atol=1e-12)


def test_glass_moves_pixels_about_and_keeps_them():
    order = list(range(30 * 20))
    _blur._swap_neighbours(order, 30, 20, 2, random())
    assert sorted(order) == list(range(600))
    moved = np.argwhere(np.array(order) != np.arange(600)).ravel()
    assert len(moved) > 300
    rows, columns = np.divmod(np.arange(600), 20)
    # The outermost ring is never the start of a swap.
    first = np.minimum(rows, columns) == 0
    np.testing.assert_array_equal(np.array(order)[first & (rows + columns == 0)], [0])


def test_motion_keeps_brightness_and_draws_a_point_out_along_a_line():
    point = np.zeros((61, 61))
    point[30, 30] = 1
    found = _blur.moved(point, 10, 3, 30)
    assert found.sum() == pytest.approx(1)
    rows, columns = np.nonzero(found)
    way = 30 - columns
    assert way.min() == 0
    slope = np.polyfit(columns, rows, 1)[0]
    assert slope == pytest.approx(np.tan(np.radians(30)), abs=0.02)
    assert found[30, 30] == pytest.approx(1 / np.exp(-(np.arange(21) ** 2) / 18).sum())
    np.testing.assert_allclose(_blur.moved(np.full((9, 9), 0.3), 10, 3, -20), 0.3)


def test_zoom_is_the_mean_of_magnified_middles(picture):
    gray = picture[..., 0]
    found, slow = corrupted(picture, "zoom_blur", 3)[..., 0], gray.copy()
    factors = 1 + 0.02 * np.arange(11)
    for factor in factors:
        side = int(np.ceil(224 / factor))
        top, grown = (224 - side) // 2, round(side * factor)
        first = (grown - 224) // 2
        at = np.arange(first, first + 224) * (side - 1) / (grown - 1) + top
        slow += map_coordinates(gray, np.meshgrid(at, at, indexing="ij"), order=1)
    np.testing.assert_allclose(found, slow / 12, atol=1e-9)


# --- weather


def slow_plasma(side, decay, random):
    """Diamond–square on a torus, a point at a time in the order that the numbers are drawn."""
    field, step, size = np.zeros((side, side)), side, 1.0
    while step >= 2:
        half = step // 2
        for rows, columns, near in (
            (half, half, [(-half, -half), (-half, half), (half, -half), (half, half)]),
            (0, half, [(-half, 0), (half, 0), (0, -half), (0, half)]),
            (half, 0, [(-half, 0), (half, 0), (0, -half), (0, half)]),
        ):
            new = field.copy()
            for y in range(rows, side, step):
                for x in range(columns, side, step):
                    mean = np.mean([field[(y + dy) % side, (x + dx) % side] for dy, dx in near])
                    new[y, x] = mean + size**2 * random.uniform(-1, 1)
            field = new
        step, size = half, size / decay
    return (field - field.min()) / np.ptp(field)


def test_plasma_is_diamond_square():
    np.testing.assert_allclose(
        _weather.plasma((13, 16), 1.7, random(3)), slow_plasma(16, 1.7, random(3))[:13], atol=1e-12
    )


def test_fog_keeps_the_brightest_value_in_reach_and_takes_contrast(picture):
    found = corrupted(picture * 0.8, "fog", 3)
    assert found.max() <= (picture * 0.8).max()
    dark, fogged = np.zeros((64, 64, 3)), corrupted(np.zeros((64, 64, 3)), "fog", 3)
    np.testing.assert_array_equal(fogged, dark)
    assert found.std() < (picture * 0.8).std() + 0.1


def test_snow_lies_on_a_whiter_picture():
    black = corrupted(np.zeros((224, 224, 3)), "snow", 1)
    # Without flakes, .2 of half white remains of black.
    assert black.min() == pytest.approx(0.1)
    assert black.max() > 0.3
    np.testing.assert_array_equal(black[..., 0], black[..., 2])
    np.testing.assert_allclose(black, black[::-1, ::-1])


def test_frost_dims_the_picture_and_adds_ice_of_its_mean():
    seen, ice = 0.7, 0.7
    dark, light = (corrupted(np.full((224, 224, 3), v), "frost", 3) for v in (0.0, 0.3))
    assert dark.mean() == pytest.approx(ice * 0.6, abs=0.005)
    assert dark.std() == pytest.approx(ice * 0.1, abs=0.005)
    np.testing.assert_allclose(light - dark, seen * 0.3, atol=1e-9)


def test_brightness_is_added_to_the_value_of_hsv(picture):
    picture = picture.copy()
    picture[:4, :4] = 0
    hsv = rgb2hsv(picture)
    hsv[..., 2] = np.minimum(hsv[..., 2] + 0.3, 1)
    np.testing.assert_allclose(corrupted(picture, "brightness", 3), hsv2rgb(hsv), atol=1e-9)


# --- digital


def test_contrast_is_drawn_to_the_mean_of_each_channel(picture):
    found = corrupted(picture, "contrast", 2)
    np.testing.assert_allclose(found.mean((0, 1)), picture.mean((0, 1)), atol=1e-12)
    np.testing.assert_allclose(found.std((0, 1)), 0.3 * picture.std((0, 1)), atol=1e-12)


@pytest.mark.parametrize("sigma", [0, 0.4, 2.4, 40])
def test_a_field_is_smoothed_as_scipy_smooths_it(sigma):
    field = random().random((24, 37))
    slow = gaussian_filter(field, sigma, mode="reflect", truncate=3) if sigma else field
    np.testing.assert_allclose(_digital._smoothed(field, sigma), slow, atol=1e-12)


def test_an_elastic_transform_moves_pixels_by_as_much_as_it_says():
    ramp = np.mgrid[0:224, 0:224].astype(float) / 224
    image = np.stack([*ramp, ramp[0]], 2)
    inner = (slice(60, -60), slice(60, -60))
    for severity, field, tilt in ((3, 0.05, 0.02), (5, 0.12, 0.02)):
        moved = (corrupted(image, "elastic_transform", severity) - image)[inner][..., :2] * 224
        # Uniform noise of unit range smoothed over 2.44 pixels keeps 1 / (2 σ √π) of its deviation 1/√3.
        wanted = 244 * field / 3**0.5 / (2 * 2.44 * np.pi**0.5)
        smooth = np.stack([gaussian_filter(moved[..., i], 15) for i in range(2)], 2)
        np.testing.assert_allclose((moved - smooth).std(), wanted, rtol=0.1)
        assert np.abs(smooth).max() < 4 * 244 * tilt
        assert np.abs(smooth).max() > 0.5


def test_pixels_are_as_pillow_makes_them(picture):
    shown = Image.fromarray((picture * 255).round().astype(np.uint8))
    slow = shown.resize((89, 89), Image.Resampling.BOX).resize((224, 224), Image.Resampling.BOX)
    # Pillow rounds twice to whole levels; ours are float32.
    assert np.abs(corrupted(picture, "pixelate", 3) * 255 - np.asarray(slow)).max() < 1 + 1e-4


def test_jpeg_is_as_pillow_makes_it(picture):
    stream = io.BytesIO()
    Image.fromarray((picture * 255).round().astype(np.uint8)).save(stream, "JPEG", quality=15)
    np.testing.assert_allclose(
        corrupted(picture, "jpeg_compression", 3) * 255, np.asarray(Image.open(stream)), atol=1e-9
    )
