"""Corruptions: what can happen to a picture on its way, by name and severity, each image by itself.

A corruption is a function ``(image, severity, random) -> image`` of one image ``(H, W, C)``, float64 in
[0, 1], at a severity from 1 to 5; random is a NumPy generator that belongs to the image. What leaves
[0, 1] is clipped.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gradlens.core.registry import corruption
from gradlens.core.seeds import image_seed
from gradlens.core.types import UserError, check_images

SEVERITIES = range(1, 6)


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
    for place, image in zip(index or range(len(images)), images, strict=True):
        random = np.random.default_rng(image_seed(seed, int(place), f"{name}/{severity}"))
        pixels = image.detach().cpu().double().permute(1, 2, 0).numpy()
        changed = np.asarray(method(pixels, severity, random))
        if changed.shape != pixels.shape or not np.isfinite(changed).all():
            what = "values that are not finite" if changed.shape == pixels.shape else f"shape {changed.shape}"
            raise UserError(f"corruption '{name}' returned {what}; wanted an image {pixels.shape} in [0, 1]")
        found.append(torch.from_numpy(changed.clip(0, 1)).permute(2, 0, 1))
    return torch.stack(found).to(images)
