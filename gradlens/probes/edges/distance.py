"""How far each pixel is from the nearest edge."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import distance_transform_cdt
from torch import Tensor

from gradlens.probes.edges.filters import Maps


def distance_to_edges(edges: Maps) -> Maps:
    """Taxicab distance of every pixel to the nearest edge pixel, ``(B, 1, H, W)`` float32, in pixels.

    Zero on the edges; ``H + W``, farther than any pixel can be, where an image has none.
    """
    if edges.device.type == "cpu":
        # Half the time of two running minima, and the same numbers.
        return torch.stack([_scipy_distance(image) for image in edges[:, 0]])[:, None]
    return _running_minima(edges)


def _scipy_distance(edges: Tensor) -> Tensor:
    if not edges.any():
        return torch.full(edges.shape, float(sum(edges.shape)))
    distance = distance_transform_cdt(edges.numpy() == 0, metric="taxicab")
    return torch.from_numpy(distance.astype(np.float32))


def _running_minima(edges: Maps) -> Maps:
    """Taxicab distance is the least of ``|Δy| + |Δx|``, so each axis takes a forward and a backward minimum."""
    farthest = float(edges.shape[2] + edges.shape[3])
    distance = torch.where(edges > 0, 0.0, farthest)
    for axis in (2, 3):
        place = torch.arange(edges.shape[axis], dtype=distance.dtype, device=edges.device)
        place = place.view(-1, 1) if axis == 2 else place
        before = (distance - place).cummin(axis).values + place
        behind = (distance + place).flip(axis).cummin(axis).values.flip(axis) - place
        distance = torch.minimum(before, behind)
    return distance.clamp(max=farthest)
