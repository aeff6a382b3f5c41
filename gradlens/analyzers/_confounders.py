"""What a gradient may follow without following edges: brightness, contrast, and the place in the image.

Partial correlations are taken given these. Noise multiplied by local contrast, for one, correlates with
contour energy at 0.6 and sits on no edge.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gradlens.probes.edges.filters import Images, Maps, gaussian_blur, luminance

Pixels = Float[Tensor, "b p"]
Blocks = Float[Tensor, "b 1 _ _"]

FLOOR = 1e-3
# Standard deviations below this, of logarithms and of what had 1 before, are rounding.
NEGLIGIBLE = 1e-4


class Confounders:
    """Projects ``(B, P)`` maps of a batch's images onto what the confounders leave.

    Log luminance (Gaussian σ = 2 pixels), log local contrast (standard deviation of the luminance under
    a Gaussian of σ = 8), squared radius, distance to the border, and 1. directions: an orthonormal basis
    of the first two beyond the others, ``(B, P)`` each, zero where there is nothing.
    """

    def __init__(self, images: Images):
        gray = luminance(images)
        self._place = place(images.shape[2], images.shape[3], images.device)
        luminous, contrast = (self.off_place(v.flatten(1)) for v in (log_brightness(gray), log_contrast(gray)))
        first = _unit(luminous)
        along = (contrast * first).sum(1, keepdim=True)
        self.directions = first, _unit(contrast - along * first)

    def off_place(self, values: Pixels) -> Pixels:
        """What is left beyond the mean and the dependence on the place in the image."""
        return off_place(values, self._place)

    def residual(self, values: Pixels) -> Pixels:
        """Residuals of unit variance, of values of unit variance; missing where nothing is left."""
        left = self.off_place(values)
        for direction in self.directions:
            left = torch.addcmul(left, (left * direction).sum(1, keepdim=True), direction, value=-1)
        size = left.norm(dim=1, keepdim=True) / left.shape[1] ** 0.5
        return left * (1 / size).where(size > NEGLIGIBLE, torch.nan)


@lru_cache(maxsize=8)
def place(height: int, width: int, device: torch.device) -> Float[Tensor, "3 p"]:
    """Orthonormal basis of the span of 1, squared radius (in units of the sides) and distance to the border."""
    row = torch.arange(height, dtype=torch.float64)[:, None]
    column = torch.arange(width, dtype=torch.float64)
    radius = ((row + 0.5) / height - 0.5) ** 2 + ((column + 0.5) / width - 0.5) ** 2
    border = torch.minimum(torch.minimum(row, height - 1 - row), torch.minimum(column, width - 1 - column))
    columns = torch.stack([torch.ones(height, width, dtype=torch.float64), radius, border]).flatten(1)
    basis, triangle = torch.linalg.qr(columns.T)
    # On the smallest images the columns are one and the same.
    independent = triangle.diagonal().abs() > 1e-9 * columns.norm(dim=1)
    return (basis * independent).T.float().contiguous().to(device)


def off_place(values: Pixels, basis: Float[Tensor, "3 p"]) -> Pixels:
    """What is left of each map beyond its mean and its dependence on the place in the image."""
    return torch.addmm(values, values @ basis.T, basis, alpha=-1)


def log_brightness(gray: Maps, sigma: float = 2.0) -> Maps:
    """Log of the mean luminance under a Gaussian window, ``(B, 1, H, W)``, sigma in pixels; from 2 × 2 pixels."""
    return _between(_log(_windowed(gray, sigma, 2)), gray)


def log_contrast(gray: Maps, sigma: float = 8.0) -> Maps:
    """Log of the standard deviation of the luminance under a Gaussian window, from moments of 4 × 4 pixels."""
    # About the image's own mean, or the difference of two near-equal squares would be rounding.
    centre = gray.mean((2, 3), keepdim=True)
    mean, square = (_windowed(values, sigma, 4) for values in (gray - centre, (gray - centre).square()))
    return _between(_log((square - mean.square()).clamp(min=0).sqrt()), gray)


def _windowed(values: Maps, sigma: float, block: int) -> Blocks:
    """Gaussian means of blocks of pixels, ``(B, 1, H / block, W / block)``: a wide window needs no more."""
    means = F.avg_pool2d(values, block, ceil_mode=True, count_include_pad=False)
    return gaussian_blur(means, sigma / block)


def _between(values: Blocks, full: Maps) -> Maps:
    return F.interpolate(values, full.shape[2:], mode="bilinear", align_corners=False)


def _log(values: Maps) -> Maps:
    return values.clamp(min=FLOOR).log()


def _unit(values: Pixels) -> Pixels:
    """Of length 1; zero where nothing is left of it."""
    length = values.norm(dim=1, keepdim=True)
    return values * (1 / length).where(length > NEGLIGIBLE * math.sqrt(values.shape[1]), 0.0)
