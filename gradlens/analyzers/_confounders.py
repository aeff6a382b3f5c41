"""What a gradient may follow without following edges: brightness, contrast, and the place in the image.

Partial correlations are taken given these. Noise multiplied by local contrast, for one, correlates with
contour energy at 0.6 and sits on no edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gradlens.edges._filters import Images, Maps, gaussian_blur, luminance

Pixels = Float[Tensor, "b p"]

BLOCK = 4
FLOOR = 1e-3
# Standard deviations below this, of logarithms and of what had 1 before, are rounding.
NEGLIGIBLE = 1e-4


class Confounders:
    """Projects ``(B, P)`` maps of a batch's images onto what the confounders leave.

    Log luminance (Gaussian σ = 2 pixels), log local contrast (standard deviation of the luminance under
    a Gaussian of σ = 8, from means over 4 × 4 pixels), squared radius, distance to the border, and 1.
    """

    def __init__(self, images: Images):
        gray = luminance(images)
        self._place = place(images.shape[2], images.shape[3], images.device)
        own = (_log(gaussian_blur(gray, 2.0)), _log(local_contrast(gray)))
        brightness, contrast = (off_place(values.flatten(1), self._place) for values in own)
        first = _unit(brightness)
        along = (contrast * first).sum(1, keepdim=True)
        self._basis = torch.stack([first, _unit(contrast - along * first)], 1)

    def residual(self, values: Pixels) -> Pixels:
        """Residuals of unit variance, of values of unit variance; missing where nothing is left."""
        left = off_place(values, self._place)[:, None]
        left = (left - (left @ self._basis.mT) @ self._basis)[:, 0]
        size = left.norm(dim=1, keepdim=True) / left.shape[1] ** 0.5
        return left * (1 / size).where(size > NEGLIGIBLE, torch.nan)

    def residual_size(self, maps: Tensor, against: Callable[[Pixels, Tensor], Tensor]) -> Float[Tensor, "b m"]:
        """What each image's confounders leave of the standard deviation of maps that are ``off_place`` and of 1.

        against: inner products of ``(B, P)`` with the maps.
        """
        pixels = self._basis.shape[2]
        brightness, contrast = (against(self._basis[:, k], maps).square() / pixels for k in range(2))
        left = 1 - brightness - contrast
        return left.where(left > NEGLIGIBLE**2, torch.nan).sqrt()


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
    return values - (values @ basis.T) @ basis


def local_contrast(gray: Maps, sigma: float = 8.0) -> Maps:
    """Standard deviation of the luminance under a Gaussian window, ``(B, 1, H, W)``, sigma in pixels."""
    block_means = partial(F.avg_pool2d, kernel_size=BLOCK, ceil_mode=True, count_include_pad=False)
    mean = gaussian_blur(block_means(gray), sigma / BLOCK)
    # About the image's own mean, or the difference of two near-equal squares would be rounding.
    centre = gray.mean((2, 3), keepdim=True)
    square = gaussian_blur(block_means((gray - centre).square()), sigma / BLOCK)
    deviation = (square - (mean - centre).square()).clamp(min=0).sqrt()
    return F.interpolate(deviation, gray.shape[2:], mode="bilinear", align_corners=False)


def _log(values: Maps) -> Maps:
    return values.clamp(min=FLOOR).log()


def _unit(values: Pixels) -> Pixels:
    """Of length 1; zero where nothing is left of it."""
    length = values.norm(dim=1, keepdim=True)
    return values * (1 / length).where(length > NEGLIGIBLE * math.sqrt(values.shape[1]), 0.0)
