"""Both Cannys are scikit-image's on every pixel."""

import numpy as np
import pytest
import torch
from edge_pictures import COLUMNS, ROWS, each_picture, to_gray, to_images
from skimage import feature

from gradlens.core.types import UserError
from gradlens.probes.edges import canny
from gradlens.probes.edges._canny import _normalized_blur, canny_batched
from gradlens.probes.edges.filters import derivatives, luminance

sigmas = pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0])


@each_picture
@sigmas
def test_canny_is_scikit_images_on_every_pixel(picture, sigma):
    expected = feature.canny(to_gray(picture), sigma, 0.1, 0.2)
    np.testing.assert_array_equal(canny(to_images(picture), sigma=sigma)[0, 0] > 0, expected)


@each_picture
@sigmas
def test_batched_canny_is_scikit_images_on_every_pixel(picture, sigma):
    expected = feature.canny(to_gray(picture), sigma, 0.1, 0.2)
    found = canny_batched(luminance(to_images(picture)), sigma, 0.1, 0.2)
    np.testing.assert_array_equal(found[0, 0], expected)


@pytest.mark.parametrize(("low", "high"), [(0.02, 0.05), (0.1, 0.4), (0.3, 0.3)])
def test_batched_canny_keeps_scikit_images_thresholds(low, high, shapes):
    gray = luminance(shapes.image[:24].double())
    expected = np.stack([feature.canny(g[0].numpy(), 1.0, low, high) for g in gray])
    np.testing.assert_array_equal(canny_batched(gray, 1.0, low, high)[:, 0], expected)


STEP = (COLUMNS >= 24) * 0.6 + (ROWS >= 30) * 0.1


@pytest.mark.parametrize("low_share", [0.5, 1.0])
def test_contrast_that_just_reaches_a_threshold_counts(low_share):
    reached = magnitude_of(STEP).max()
    counts = []
    # Around the highest magnitude, in steps below single precision.
    for high in (reached, np.nextafter(reached, 9), *(reached + np.linspace(-3e-7, 3e-7, 12))):
        found = canny_batched(to_images(STEP), 1.0, low_share * high, high)[0, 0].numpy()
        np.testing.assert_array_equal(found, feature.canny(STEP, 1.0, low_share * high, high))
        counts.append(found.sum())
    assert min(counts) == 0 < max(counts)


def magnitude_of(picture):
    """The gradient magnitude that Canny's thresholds are compared with."""
    down, along = derivatives(_normalized_blur(to_images(picture), 1.0), (2.0, 1.0), "replicate")
    return (down**2 + along**2).sqrt().numpy()


def test_batched_canny_follows_a_weak_edge_however_long():
    # A spiral whose contrast is strong at its inner end only: hysteresis has to walk all of it.
    turn = np.linspace(0, 10 * np.pi, 6000)
    radius = 6 + 1.1 * turn
    spiral = np.full((96, 96), 0.5)
    spiral[(48 + radius * np.sin(turn)).astype(int), (48 + radius * np.cos(turn)).astype(int)] = 0.72
    spiral[46:52, 50:58] = 1.0
    expected = feature.canny(spiral, 0.7, 0.1, 0.5)
    assert expected.sum() > 500
    np.testing.assert_array_equal(canny_batched(to_images(spiral), 0.7, 0.1, 0.5)[0, 0], expected)


def test_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(UserError, match="low="):
        canny(torch.rand(1, 3, 16, 16), low=0.3, high=0.2)
