from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from skimage.feature import canny as skimage_canny
from torch import Tensor

from gradlens.core.registry import edge_map
from gradlens.core.types import UserError
from gradlens.probes.edges.filters import Images, Maps, correlate, derivatives, luminance


@edge_map
def canny(images: Images, sigma: float = 1.0, low: float = 0.1, high: float = 0.2) -> Maps:
    """Canny edges of the luminance, ``(B, 1, H, W)``: 1 on an edge, 0 elsewhere.

    sigma is the blur in pixels; low and high are hysteresis thresholds on the gradient magnitude of
    an image in [0, 1] and absolute, so halving an image's contrast removes edges. On the CPU this is
    scikit-image; on a GPU a batched version that agrees with it pixel for pixel (Canny 1986).
    """
    if not 0 <= low <= high:
        raise UserError(f"canny's thresholds are low={low:g}, high={high:g}; wanted 0 ≤ low ≤ high")
    gray = luminance(images.detach().double())
    if gray.device.type == "cpu":
        maps = [torch.from_numpy(skimage_canny(g[0].numpy(), sigma, low, high)) for g in gray]
        return torch.stack(maps)[:, None].to(images.dtype)
    return canny_batched(gray, sigma, low, high).to(images.dtype)


def canny_batched(gray: Maps, sigma: float, low: float, high: float) -> Tensor:
    """Canny of float64 luminance without leaving its device: a boolean ``(B, 1, H, W)``."""
    smooth = _normalized_blur(gray, sigma)
    down, along = derivatives(smooth, (2.0, 1.0), "replicate")
    magnitude = (down**2 + along**2).sqrt()
    # scikit-image reads this one threshold in single precision.
    ridge = _is_ridge(down, along, magnitude) & (magnitude >= float(np.float32(low)))
    # What lies beyond the border is unknown, so a border pixel is never an edge.
    ridge[..., 0, :] = ridge[..., -1, :] = ridge[..., 0] = ridge[..., -1] = False
    return _hysteresis(ridge & (magnitude > 0), magnitude >= high)


def _normalized_blur(gray: Maps, sigma: float) -> Maps:
    """Gaussian blur that divides by the weight inside the image, so borders do not darken."""
    radius = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
    half = (kernel / kernel.sum())[radius:].tolist()

    def blur(image: Maps) -> Maps:
        return correlate(correlate(image, half, 2, "constant"), half, 3, "constant")

    return blur(gray) / (blur(torch.ones_like(gray)) + torch.finfo(torch.float64).eps)


def _is_ridge(down: Maps, along: Maps, magnitude: Maps) -> Tensor:
    """Whether the magnitude is a maximum along the gradient, neighbours interpolated linearly."""
    steep = down.abs() > along.abs()
    weight = torch.where(steep, along.abs() / down.abs(), down.abs() / along.abs()).nan_to_num(0.0)
    sign = torch.where(down * along >= 0, 1, -1)
    return _beats(magnitude, weight, steep, sign, 1) & _beats(magnitude, weight, steep, sign, -1)


def _beats(magnitude: Maps, weight: Maps, steep: Tensor, sign: Tensor, side: int) -> Tensor:
    """Whether each pixel is at least the interpolated neighbour on one side of it."""
    straight = torch.where(
        steep,
        torch.where(sign > 0, _shift(magnitude, side, 0), _shift(magnitude, -side, 0)),
        _shift(magnitude, 0, side),
    )
    diagonal = torch.where(sign > 0, _shift(magnitude, side, side), _shift(magnitude, -side, side))
    return diagonal * weight + straight * (1 - weight) <= magnitude


def _shift(image: Maps, rows: int, columns: int) -> Maps:
    """The neighbour at ``(row + rows, column + columns)``, zero outside."""
    padded = F.pad(image, (1, 1, 1, 1))
    h, w = image.shape[2:]
    return padded[..., 1 + rows : 1 + rows + h, 1 + columns : 1 + columns + w]


def _hysteresis(weak: Tensor, strong: Tensor, sweeps: int = 16) -> Tensor:
    """Weak pixels that are 8-connected through weak pixels to a strong one."""
    weak_map, edges = weak.double(), (weak & strong).double()
    while True:
        before = edges
        # Many sweeps between comparisons, since each comparison waits for the device.
        for _ in range(sweeps):
            edges = F.max_pool2d(edges, 3, 1, 1) * weak_map
        if torch.equal(before, edges):
            return edges.bool()
