"""What else than edges a gradient may follow, brightness, contrast and place, and what they leave of a map."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
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
# Windows of local contrast, standard deviations in pixels. The located measures take out all three: with the first
# alone a gradient on contrast at 4 pixels scores .2, and with the first two one on contrast at 2 pixels .4.
WINDOWS = (8.0, 4.0, 2.0)


def confounder_maps(images: Images) -> Float[Tensor, "b k h w"]:
    """Log luminance under a Gaussian of 2 pixels, then log local contrast under each of WINDOWS."""
    gray = luminance(images)
    return torch.cat([log_brightness(gray), *log_contrasts(gray, WINDOWS)], 1)


class Confounders:
    """Projects ``(B, P)`` maps of a batch's images onto what the confounders leave.

    These are the given maps ``(B, K, H, W)``, and the place: squared radius, distance to the border, and 1. place:
    an orthonormal basis ``(3, P)`` of the latter; directions: of the maps beyond it, ``(B, K, P)``, zero where
    there is nothing.
    """

    def __init__(self, maps: Float[Tensor, "b k h w"]):
        self.place = place(maps.shape[2], maps.shape[3], maps.device)
        self.directions = maps.new_zeros(len(maps), maps.shape[1], self.place.shape[1])
        for k, values in enumerate(maps.unbind(1)):
            self.directions[:, k] = _unit(self._beyond(k, self.off_place(values.flatten(1))))

    @classmethod
    def of(cls, images: Images) -> Confounders:
        """Those of the measures that are not located: log luminance and log contrast under the widest window."""
        return cls(confounder_maps(images)[:, :2])

    def rows(self, first: int, number: int) -> Confounders:
        """Those of some of the images."""
        some = copy.copy(self)
        some.directions = self.directions[first : first + number]
        return some

    def off_place(self, values: Pixels) -> Pixels:
        """What is left beyond the mean and the dependence on the place in the image."""
        return off_place(values, self.place)

    def residual(self, values: Pixels) -> Pixels:
        """Residuals of unit variance, of values of unit variance; missing where nothing is left."""
        left = self._beyond(self.directions.shape[1], self.off_place(values))
        size = left.norm(dim=1, keepdim=True) / left.shape[1] ** 0.5
        return left * (1 / size).where(size > NEGLIGIBLE, torch.nan)

    def _beyond(self, first: int, left: Pixels) -> Pixels:
        """What is left beyond the first so many directions."""
        for direction in self.directions[:, :first].unbind(1):
            left = torch.addcmul(left, (left * direction).sum(1, keepdim=True), direction, value=-1)
        return left


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
    return _between(_log(gaussian_blur(_blocks(gray, 2), sigma / 2)), gray)


def log_contrast(gray: Maps, sigma: float = WINDOWS[0]) -> Maps:
    """Log of the standard deviation of the luminance under a Gaussian window, from moments of 4 × 4 pixels."""
    return log_contrasts(gray, [sigma])[0]


def log_contrasts(gray: Maps, sigmas: Sequence[float]) -> list[Maps]:
    """``log_contrast`` under several windows."""
    # About the image's own mean, or the difference of two near-equal squares would be rounding.
    centre = gray.mean((2, 3), keepdim=True)
    moments = [_blocks(values, 4) for values in (gray - centre, (gray - centre).square())]
    found = []
    for sigma in sigmas:
        mean, square = (gaussian_blur(values, sigma / 4) for values in moments)
        found.append(_between(_log((square - mean.square()).clamp(min=0).sqrt()), gray))
    return found


def _blocks(values: Maps, block: int) -> Blocks:
    """Means of blocks of pixels, ``(B, 1, H / block, W / block)``: a wide window needs no more."""
    return F.avg_pool2d(values, block, ceil_mode=True, count_include_pad=False)


def _between(values: Blocks, full: Maps) -> Maps:
    return F.interpolate(values, full.shape[2:], mode="bilinear", align_corners=False)


def _log(values: Maps) -> Maps:
    return values.clamp(min=FLOOR).log()


def _unit(values: Pixels) -> Pixels:
    """Of length 1; zero where nothing is left of it."""
    length = values.norm(dim=1, keepdim=True)
    return values * (1 / length).where(length > NEGLIGIBLE * math.sqrt(values.shape[1]), 0.0)
