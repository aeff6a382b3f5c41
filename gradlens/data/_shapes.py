from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_erosion

from gradlens.data._embedded import PHOTOGRAPHS, SIDE, crop, generator, to_image

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
_OVERSAMPLING = 4


class Shapes:
    """Shapes filled with one photograph and placed on another, 64 × 64; the class is the shape.

    The outline is known exactly (``contour``), and texture and colour say nothing about the class.
    """

    name = "shapes"
    varies_in_size = False
    class_names = SHAPES
    COUNT: ClassVar[dict[str, int]] = {"train": 400, "val": 100, "test": 100}

    def __init__(self, split: str):
        self.split = split
        self.labels = np.tile(np.arange(len(SHAPES)), self.COUNT[split])
        self.paths = [f"{SHAPES[c]}/{i // len(SHAPES):03d}" for i, c in enumerate(self.labels)]

    def open(self, index: int) -> Image.Image:
        rng = self._generator(index)
        mask = self._mask(index, rng)[..., None]
        inside, outside = rng.choice(len(PHOTOGRAPHS), 2, replace=False)
        fill, ground = (crop(PHOTOGRAPHS[i], self.split, rng) for i in (inside, outside))
        return to_image(np.rint(mask * fill + (1 - mask) * ground).astype(np.uint8))

    def contour(self, index: int) -> NDArray[np.bool_]:
        """The pixels inside the shape that touch its outside, ``(64, 64)``."""
        solid = self._mask(index, self._generator(index)) > 0.5
        return solid & ~binary_erosion(solid)

    def _generator(self, index: int) -> np.random.Generator:
        return generator("shapes", self.split, index)

    def _mask(self, index: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """The share of each pixel that the shape covers."""
        radius = rng.uniform(0.24, 0.38) * SIDE
        centre = rng.uniform(radius, SIDE - radius, 2)
        turn = rng.uniform(0, 2 * math.pi)
        big = Image.new("L", (SIDE * _OVERSAMPLING,) * 2)
        draw = ImageDraw.Draw(big)
        for fill, corners in _outline(SHAPES[self.labels[index]]):
            points = [_place(r, a + turn, radius, centre) for r, a in corners]
            draw.polygon(points, fill=fill)
        blocks = np.asarray(big).reshape(SIDE, _OVERSAMPLING, SIDE, _OVERSAMPLING)
        return blocks.mean((1, 3)) / 255


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
