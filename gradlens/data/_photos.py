from __future__ import annotations

from typing import ClassVar

import numpy as np
from PIL import Image

from gradlens.data._embedded import PHOTOGRAPHS, crop, generator, to_image


class Photos:
    """Crops of eight colour photographs, 64 × 64; the class is the photograph.

    Natural statistics of edges and channels. Splits take disjoint regions of each photograph; crops
    within a split overlap, so they are not independent.
    """

    name = "photos"
    varies_in_size = False
    class_names = PHOTOGRAPHS
    COUNT: ClassVar[dict[str, int]] = {"train": 200, "val": 50, "test": 50}

    def __init__(self, split: str):
        self.split = split
        self.labels = np.tile(np.arange(len(PHOTOGRAPHS)), self.COUNT[split])
        self.paths = [f"{PHOTOGRAPHS[c]}/{i // len(PHOTOGRAPHS):03d}" for i, c in enumerate(self.labels)]

    def open(self, index: int) -> Image.Image:
        name = PHOTOGRAPHS[self.labels[index]]
        return to_image(crop(name, self.split, generator("photos", self.split, index)))
