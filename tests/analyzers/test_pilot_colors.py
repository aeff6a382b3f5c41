"""The colour axes are the pilot's principal ones, whatever its pieces, and gray is gray."""

import numpy as np
import pytest
import torch
from planted import gray_like

from gradlens.analyzers._channel_asymmetry import PilotColors


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
