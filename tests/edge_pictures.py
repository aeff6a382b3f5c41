"""Pictures in which a person sees the edges, photographs, and noise: ``(H, W)`` or ``(H, W, 3)`` in [0, 1]."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from skimage import color

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

each_picture = pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)


def to_images(picture: np.ndarray) -> torch.Tensor:
    """``(H, W)`` or ``(H, W, C)`` → ``(1, C, H, W)``."""
    picture = np.atleast_3d(picture)
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None]


def to_gray(picture: np.ndarray) -> np.ndarray:
    return color.rgb2gray(picture) if picture.ndim == 3 else picture
