"""Corruptions: what can happen to a picture on its way, by name and severity, each image by itself.

A corruption is a function ``(image, severity, random) -> image`` of one image ``(H, W, C)``, float64 in
[0, 1], at a severity from 1 to 5; random is a NumPy generator that belongs to the image. What leaves
[0, 1] is clipped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens.core.registry import corruption
from gradlens.core.seeds import image_seed
from gradlens.core.types import UserError, check_images

SEVERITIES = range(1, 6)
# Between 32 and 224 pixels: as many times the one as the other is of it.
SMALL = (32 * 224) ** 0.5


def corrupt(images: Tensor, name: str, severity: int = 3, seed: int = 0, index: Sequence[int] | None = None) -> Tensor:
    """Corrupted images ``(B, C, H, W)`` in [0, 1], like the given ones.

    name: a registered corruption, with parameters as ``name:parameter=value``. severity: 1 to 5. index:
    what each image's random numbers belong to, by default its place; an image's corruption does not
    depend on the others. Raises UserError for another severity, and for a result of another shape.
    """
    check_images(images)
    if severity not in SEVERITIES:
        raise UserError(f"corruption '{name}' has no severity {severity}; give 1, 2, 3, 4 or 5")
    method = corruption.build(name)
    found = []
    places = range(len(images)) if index is None else index
    for place, image in zip(places, images.detach().cpu().numpy(), strict=True):
        random = np.random.default_rng(image_seed(seed, int(place), f"{name}/{severity}"))
        pixels = np.ascontiguousarray(np.moveaxis(image, 0, -1), dtype=np.float64)
        changed = np.asarray(method(pixels, severity, random))
        if changed.shape != pixels.shape or not np.isfinite(changed).all():
            what = "values that are not finite" if changed.shape == pixels.shape else f"shape {changed.shape}"
            raise UserError(f"corruption '{name}' returned {what}; wanted an image {pixels.shape} in [0, 1]")
        found.append(np.moveaxis(changed.clip(0, 1), -1, 0))
    return torch.from_numpy(np.stack(found)).to(images)


def strength(image: NDArray, severity: int, large: Sequence[Any], small: Sequence[Any]) -> Any:
    """The parameters of a severity from 1 to 5 for an image ``(H, W, C)``.

    large: those that were published for 224 × 224 pixels (ImageNet-C); small: for 32 × 32 (CIFAR-10-C). An
    image takes those of the size that its shorter side is nearer to on a logarithmic scale: up to 84 pixels
    CIFAR's. Source: Hendrycks and Dietterich 2019, and the programs published with it.
    """
    return (small if min(image.shape[:2]) < SMALL else large)[severity - 1]


def by_channel(change: Callable[[NDArray], NDArray], image: NDArray) -> NDArray:
    """An image ``(H, W, C)`` whose channels were changed one by one; several times quicker than together."""
    return np.stack([change(np.ascontiguousarray(channel)) for channel in np.moveaxis(image, -1, 0)], -1)
