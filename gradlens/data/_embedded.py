"""The embedded data sets, made of pictures inside the libraries: digits, shapes and photos."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_erosion
from torch import Tensor

from gradlens.core.names import unknown
from gradlens.core.types import UserError
from gradlens.data._data import path_hash

# A photograph's columns belong to one split each, so no pixel is seen in two.
BANDS = {"train": (0.0, 0.6), "val": (0.6, 0.8), "test": (0.8, 1.0)}
PHOTOGRAPHS = ("astronaut", "cat", "coffee", "rocket", "galaxies", "tissue", "temple", "flower")
# What scikit-image calls those that it names otherwise, and the files of scikit-learn.
_OF_IMAGE = {"cat": "chelsea", "galaxies": "hubble_deep_field", "tissue": "immunohistochemistry"}
_OF_LEARN = {"temple": "china.jpg", "flower": "flower.jpg"}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
SIDE = 64
# Radius, centre and turn.
Place = tuple[float, NDArray[np.float64], float]
_OVERSAMPLING = 4


class Digits:
    """scikit-learn's 1,797 handwritten digits, 8 × 8 enlarged to 32 × 32, gray as RGB.

    Real and learnt in seconds. Gray images carry no channel claim, and their edges are confounded
    with brightness.
    """

    name = "digits"
    varies_in_size = False
    class_names = tuple("0123456789")
    SPLITS: ClassVar[dict[str, tuple[int, int]]] = {"train": (0, 1000), "val": (1000, 1297), "test": (1297, 1797)}

    def __init__(self, split: str):
        _check_split(self.name, split, self.SPLITS)
        pixels, labels = _digits()
        order = _generator("digits").permutation(len(labels))[slice(*self.SPLITS[split])]
        self.pixels, self.labels = pixels[order], labels[order]
        self.paths = [f"{label}/{row:04d}" for label, row in zip(self.labels, order, strict=True)]

    def open(self, index: int, channels: int = 3) -> Image.Image:
        small = Image.fromarray(np.rint(self.pixels[index] * 255 / 16).astype(np.uint8))
        return small.resize((32, 32), Image.Resampling.BILINEAR).convert("RGB")


@cache
def _digits() -> tuple[NDArray, NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target.astype(np.int64)


class _Composed:
    """Images that are made when they are opened, each from random numbers of its own."""

    name: str
    class_names: tuple[str, ...]
    varies_in_size = False
    COUNT: ClassVar[dict[str, int]]  # of each class, a split

    def __init__(self, split: str):
        _check_split(self.name, split, self.COUNT)
        self.split, classes = split, len(self.class_names)
        self.labels = np.tile(np.arange(classes), self.COUNT[split])
        self.paths = [f"{self.class_names[c]}/{i // classes:03d}" for i, c in enumerate(self.labels)]

    def _random(self, index: int) -> np.random.Generator:
        return _generator(self.name, self.split, index)


class Photos(_Composed):
    """Crops of eight colour photographs, 64 × 64; the class is the photograph.

    Natural statistics of edges and channels. Splits take disjoint regions of each photograph; crops
    within a split overlap, so they are not independent: those of one photograph are a cluster.
    """

    name = "photos"
    class_names = PHOTOGRAPHS
    COUNT: ClassVar[dict[str, int]] = {"train": 200, "val": 50, "test": 50}

    @property
    def clusters(self) -> NDArray:
        return np.array(PHOTOGRAPHS)[self.labels]

    def open(self, index: int, channels: int = 3) -> Image.Image:
        return Image.fromarray(crop(PHOTOGRAPHS[self.labels[index]], self.split, self._random(index)))


class Shapes(_Composed):
    """Shapes filled with one photograph and placed on another, 64 × 64; the class is the shape.

    The outline is known exactly (``contour``), and texture and colour say nothing about the class. Shapes on one
    photograph are a cluster.
    """

    name = "shapes"
    class_names = SHAPES
    COUNT: ClassVar[dict[str, int]] = {"train": 400, "val": 100, "test": 100}

    @property
    def clusters(self) -> NDArray:
        """The photograph behind each shape, which is most of the image."""
        return np.array([self._drawn(index)[2] for index in range(len(self.labels))])

    def open(self, index: int, channels: int = 3) -> Image.Image:
        place, inside, outside, rng = self._drawn(index)
        mask = self._mask(index, place)[..., None]
        fill, ground = (crop(name, self.split, rng) for name in (inside, outside))
        return Image.fromarray(np.rint(mask * fill + (1 - mask) * ground).astype(np.uint8))

    def contour(self, index: int) -> NDArray[np.bool_]:
        """The pixels inside the shape that touch its outside, ``(64, 64)``."""
        return _edge_of(self._mask(index, self._drawn(index)[0]))

    def outline(self, index: int, transform: Callable[[Image.Image], Tensor]) -> NDArray[np.bool_]:
        """The contour ``(H, W)`` of what the transform makes of the shape as a picture, as it does of the image."""
        covered = (255 * self._mask(index, self._drawn(index)[0])).astype(np.uint8)
        return _edge_of(transform(Image.fromarray(covered).convert("RGB"))[0].numpy())

    def _drawn(self, index: int) -> tuple[Place, str, str, np.random.Generator]:
        """Where the shape is, the photographs inside and outside, and the random numbers that cut these."""
        rng = self._random(index)
        radius = rng.uniform(0.24, 0.38) * SIDE
        place = radius, rng.uniform(radius, SIDE - radius, 2), rng.uniform(0, 2 * math.pi)
        inside, outside = rng.choice(len(PHOTOGRAPHS), 2, replace=False)
        return place, PHOTOGRAPHS[inside], PHOTOGRAPHS[outside], rng

    def _mask(self, index: int, place: Place) -> NDArray[np.float64]:
        """The share of each pixel that the shape covers."""
        radius, centre, turn = place
        big = Image.new("L", (SIDE * _OVERSAMPLING,) * 2)
        draw = ImageDraw.Draw(big)
        for fill, corners in _outline(SHAPES[self.labels[index]]):
            points = [_place(r, a + turn, radius, centre) for r, a in corners]
            draw.polygon(points, fill=fill)
        blocks = np.asarray(big).reshape(SIDE, _OVERSAMPLING, SIDE, _OVERSAMPLING)
        return blocks.mean((1, 3)) / 255


def _edge_of(share: NDArray) -> NDArray[np.bool_]:
    """The pixels covered by more than half that touch others; where the picture ends is no edge."""
    solid = share > 0.5
    return solid & ~binary_erosion(solid, border_value=1)


def _outline(shape: str) -> list[tuple[int, list[tuple[float, float]]]]:
    """Polygons to draw in order, as (gray, corners), each corner (radius, angle) in a unit circle."""
    if shape == "ring":
        return [(255, _regular(64)), (0, _regular(64, 0.55))]
    if shape == "star":
        return [(255, [(1 if i % 2 == 0 else 0.42, i * math.pi / 5) for i in range(10)])]
    if shape == "cross":
        arm = math.atan2(0.3, 0.95)
        notch = (0.3 * math.sqrt(2), math.pi / 4)
        quarter = [(1.0, -arm), (1.0, arm), notch]
        return [(255, [(r, a + q * math.pi / 2) for q in range(4) for r, a in quarter])]
    return [(255, _regular({"circle": 64, "square": 4, "triangle": 3}[shape]))]


def _regular(corners: int, radius: float = 1.0) -> list[tuple[float, float]]:
    return [(radius, 2 * math.pi * i / corners) for i in range(corners)]


def _place(r: float, angle: float, radius: float, centre: NDArray) -> tuple[float, float]:
    x, y = centre + r * radius * np.array([math.cos(angle), math.sin(angle)])
    return x * _OVERSAMPLING, y * _OVERSAMPLING


@cache
def photograph(name: str) -> NDArray[np.uint8]:
    """One of the photographs, ``(H, W, 3)``."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    if name in _OF_LEARN:
        return load_sample_image(_OF_LEARN[name])
    return getattr(skimage.data, _OF_IMAGE.get(name, name))()


def crop(name: str, split: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random ``SIDE × SIDE`` window of a photograph, inside the split's band of columns."""
    pixels = photograph(name)
    height, width = pixels.shape[:2]
    left, right = (round(width * edge) for edge in BANDS[split])
    row = rng.integers(0, height - SIDE + 1)
    column = rng.integers(left, right - SIDE + 1)
    return pixels[row : row + SIDE, column : column + SIDE]


def _check_split(name: str, split: str, known: Mapping[str, object]) -> None:
    if split not in known:
        raise UserError(unknown(f"split of {name}", split, known))


def _generator(*key: object) -> np.random.Generator:
    """Random numbers that belong to one image."""
    return np.random.default_rng(path_hash(0, "/".join(map(str, key))))
