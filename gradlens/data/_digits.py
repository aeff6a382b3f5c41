from __future__ import annotations

from functools import cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gradlens.data._embedded import generator


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
        pixels, labels = _digits()
        order = generator("digits").permutation(len(labels))[slice(*self.SPLITS[split])]
        self.pixels, self.labels = pixels[order], labels[order]
        self.paths = [f"{label}/{row:04d}" for label, row in zip(self.labels, order, strict=True)]

    def open(self, index: int) -> Image.Image:
        small = Image.fromarray(np.rint(self.pixels[index] * 255 / 16).astype(np.uint8))
        return small.resize((32, 32), Image.Resampling.BILINEAR).convert("RGB")


@cache
def _digits() -> tuple[NDArray, NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images, bunch.target.astype(np.int64)
