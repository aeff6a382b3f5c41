"""Contour energy is the paper's, and Sobel scikit-image's."""

import numpy as np
import pytest
import reference
from edge_pictures import PICTURES, each_picture, to_gray, to_images
from skimage import filters

from gradlens.probes.edges import contour_energy, sobel


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", ["astronaut", "camera", "circle", "colour noise"])
def test_contour_energy_is_the_papers(name, sigma):
    image = to_images(PICTURES[name])[:, :, :90, :80]
    expected = reference.contour_energy(image[0].numpy(), sigma)
    np.testing.assert_allclose(contour_energy(image, sigma=sigma)[0, 0], expected, rtol=1e-10, atol=1e-13)


@each_picture
def test_sobel_is_scikit_images(picture):
    expected = filters.sobel(to_gray(picture))
    np.testing.assert_allclose(sobel(to_images(picture))[0, 0], expected, atol=1e-14)
