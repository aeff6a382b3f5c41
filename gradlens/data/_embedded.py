"""What the embedded sets share: photographs inside the libraries, cut into disjoint regions."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradlens.data._sample import _hash

# A photograph's columns belong to one split each, so no pixel is seen in two.
BANDS = {"train": (0.0, 0.6), "val": (0.6, 0.8), "test": (0.8, 1.0)}
PHOTOGRAPHS = ("astronaut", "cat", "coffee", "rocket", "galaxies", "tissue", "temple", "flower")
SIDE = 64


@cache
def photograph(name: str) -> NDArray[np.uint8]:
    """One of the photographs, ``(H, W, 3)``."""
    import skimage.data
    from sklearn.datasets import load_sample_image

    readers = {
        "cat": skimage.data.chelsea,
        "galaxies": skimage.data.hubble_deep_field,
        "tissue": skimage.data.immunohistochemistry,
        "temple": lambda: load_sample_image("china.jpg"),
        "flower": lambda: load_sample_image("flower.jpg"),
    }
    return readers[name]() if name in readers else getattr(skimage.data, name)()


def crop(name: str, split: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random ``SIDE × SIDE`` window of a photograph, inside the split's band of columns."""
    pixels = photograph(name)
    height, width = pixels.shape[:2]
    left, right = (round(width * edge) for edge in BANDS[split])
    row = rng.integers(0, height - SIDE + 1)
    column = rng.integers(left, right - SIDE + 1)
    return pixels[row : row + SIDE, column : column + SIDE]


def generator(*key: object) -> np.random.Generator:
    """Random numbers that belong to one image."""
    return np.random.default_rng(_hash(0, "/".join(map(str, key))))


def to_image(pixels: NDArray) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(pixels))
