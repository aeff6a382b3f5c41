import numpy as np
import pytest
import reference
import skimage.data
import torch
from skimage import color, feature, filters

from gradlens.core.registry import edge_map
from gradlens.core.types import UserError
from gradlens.data import load_data
from gradlens.probes.edges import canny, contour_energy, sobel
from gradlens.probes.edges._canny import _normalized_blur, canny_batched
from gradlens.probes.edges.filters import derivatives, luminance
from gradlens.stats.separation import auc

EDGE_MAPS = list(edge_map)
ROWS, COLUMNS = np.mgrid[:60, :48]
RNG = np.random.default_rng(0)

DRAWN = {
    "circle": ((ROWS - 28) ** 2 + (COLUMNS - 23) ** 2 < 200) * 0.8,
    "square": ((abs(ROWS - 30) < 12) & (abs(COLUMNS - 24) < 9)) * 1.0,
    # Ties between neighbours are where implementations differ.
    "falling diagonal": (ROWS > COLUMNS) * 1.0,
    "rising diagonal": (ROWS + COLUMNS < 54) * 1.0,
    "checkerboard": (ROWS // 6 + COLUMNS // 6) % 2 * 1.0,
    "stripes at the border": (COLUMNS % 6 == 0) * 1.0,
    "ramp": COLUMNS / 47,
}
PHOTOGRAPHS = {
    name: getattr(skimage.data, name)()[100:260, 100:300] / 255
    for name in ("astronaut", "chelsea", "coffee", "camera", "coins", "immunohistochemistry")
}
NOISE = {"colour noise": RNG.random((50, 70, 3)), "gray noise": RNG.random((33, 47)), "tiny": RNG.random((3, 5))}
PICTURES = {**DRAWN, **PHOTOGRAPHS, **NOISE}

TURNS = {"rows": lambda x: x.flip(2), "columns": lambda x: x.flip(3), "transpose": lambda x: x.transpose(2, 3)}

pictures = pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)
sigmas = pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0])
each_edge_map = pytest.mark.parametrize("name", EDGE_MAPS)


def to_images(picture):
    picture = np.atleast_3d(picture)
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]


def to_gray(picture):
    return color.rgb2gray(picture) if picture.ndim == 3 else picture


@pictures
@sigmas
def test_canny_is_scikit_images_on_every_pixel(picture, sigma):
    expected = feature.canny(to_gray(picture), sigma, 0.1, 0.2)
    np.testing.assert_array_equal(canny(to_images(picture), sigma=sigma)[0, 0] > 0, expected)


@pictures
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


@pictures
def test_sobel_is_scikit_images(picture):
    expected = filters.sobel(to_gray(picture))
    np.testing.assert_allclose(sobel(to_images(picture))[0, 0], expected, atol=1e-14)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", ["astronaut", "camera", "circle", "colour noise"])
def test_contour_energy_is_the_papers(name, sigma):
    image = to_images(PICTURES[name])[:, :, :90, :80]
    expected = reference.contour_energy(image[0].numpy(), sigma)
    np.testing.assert_allclose(contour_energy(image, sigma=sigma)[0, 0], expected, rtol=1e-10, atol=1e-13)


@each_edge_map
def test_edge_map_is_one_non_negative_channel(name):
    image = torch.rand(3, 3, 24, 40)
    maps = edge_map[name](image)
    assert maps.shape == (3, 1, 24, 40)
    assert maps.dtype == image.dtype
    assert maps.min() >= 0
    assert maps.max() > 0


@each_edge_map
def test_image_without_contrast_has_no_edges(name):
    flat = torch.tensor([0.0, 0.3, 1.0]).view(1, 3, 1, 1).expand(2, 3, 24, 40)
    assert edge_map[name](flat.contiguous()).max() == 0


@each_edge_map
@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_edges_move_with_the_image(name, turn, shapes):
    image = shapes.image[:24, :, :, :56].double()
    turned = edge_map[name](turn(image).contiguous())
    torch.testing.assert_close(turned, turn(edge_map[name](image)), rtol=0, atol=1e-12)


@each_edge_map
def test_each_image_has_its_edges_to_itself(name, shapes):
    image = shapes.image[:8]
    alone = torch.cat([edge_map[name](i[None]) for i in image])
    torch.testing.assert_close(edge_map[name](image), alone, rtol=0, atol=0)


@each_edge_map
def test_edge_map_leaves_its_input(name, shapes):
    image = shapes.image[:4].clone()
    edge_map[name](image)
    assert torch.equal(image, shapes.image[:4])


@each_edge_map
def test_true_contours_are_found(name, shapes):
    contours = [load_data("shapes").source.contour(i) for i in shapes.index.tolist()]
    maps = edge_map[name](shapes.image).numpy()
    scores = [auc(m.ravel(), c.ravel()) for m, c in zip(maps, contours, strict=True)]
    assert np.mean(scores) > 0.65


def test_thresholds_in_the_wrong_order_are_refused():
    with pytest.raises(UserError, match="low="):
        canny(torch.rand(1, 3, 16, 16), low=0.3, high=0.2)
