from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from torch import Tensor

from gradlens.core.types import UserError, check_images
from gradlens.data._pixels import to_tensor


class Arrays:
    """Images and labels that are already in memory: pixels in [0, 1] as the model will see them."""

    name = "arrays"
    varies_in_size = False

    def __init__(self, images: Any, labels: Any = None):
        if len(images) == 0:
            raise UserError("the array of images is empty; give at least one image")
        self.images = to_tensor(images)
        check_images(self.images)
        count = len(self.images)
        self.labels = np.full(count, -1) if labels is None else np.asarray(labels).astype(np.int64)
        if self.labels.shape != (count,):
            raise UserError(f"{count} images came with labels of shape {self.labels.shape}; wanted ({count},)")
        self.class_names = tuple(str(c) for c in range(int(self.labels.max()) + 1))
        # Part of an image's identity, so that a run is not resumed with other pixels.
        self.paths = [f"{i:06d}-{_content(image)}" for i, image in enumerate(self.images)]

    def open(self, index: int) -> Tensor:
        return self.images[index]


def _content(image: Tensor) -> str:
    return hashlib.blake2b(image.numpy().tobytes(), digest_size=4).hexdigest()
