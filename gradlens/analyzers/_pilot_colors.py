from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

# Steps of a channel: finer than 8 bits, yet an image's products add up in float64 without rounding.
LEVELS = 1 << 12
ONE_8_BIT_LEVEL = math.ceil(LEVELS / 255)
# Axes whose variances are closer than this, of the largest, are not told apart.
DISTINCT = 1e-6


class PilotColors:
    """The colours of a run's pilot images: whether they are gray, and their principal axes.

    Pixels are rounded to 2⁻¹² and added up as integers, so the pieces in which the images come change
    no digit.
    """

    def __init__(self) -> None:
        self._pixels, self._apart, self._channels = 0, 0, 0
        self._sum = np.zeros(3, np.int64)
        self._products = np.zeros((3, 3), np.int64)

    def add(self, image: Tensor) -> None:
        """See more images, ``(B, C, H, W)`` in [0, 1]."""
        self._channels = image.shape[1]
        if self._channels != 3:
            return
        level = (image.detach().double() * LEVELS).round().flatten(2)
        self._pixels += len(level) * level.shape[2]
        self._sum += level.sum(2).long().sum(0).cpu().numpy()
        self._products += (level @ level.mT).long().sum(0).cpu().numpy()
        self._apart = max(self._apart, int((level.amax(1) - level.amin(1)).max()))

    @property
    def gray(self) -> bool:
        """One channel, or three that are equal everywhere to an 8-bit level."""
        return self._channels == 1 or (self._channels == 3 and self._apart <= ONE_8_BIT_LEVEL)

    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Eigenvectors of the pixels' colour covariance ``(3, 3)``, a row an axis, and their shares of the variance.

        Largest variance first, each pointing towards white. NaN where the colours do not tell three
        axes apart, as those of gray images, or where none were seen.
        """
        nothing = np.full((3, 3), np.nan), np.full(3, np.nan)
        if self._pixels == 0:
            return nothing
        mean = self._sum / self._pixels / LEVELS
        covariance = self._products / self._pixels / LEVELS**2 - np.outer(mean, mean)
        variance, vectors = np.linalg.eigh(covariance)
        variance, axes = variance[::-1], vectors.T[::-1]
        if not (variance[:-1] - variance[1:] > DISTINCT * variance[0]).all():
            return nothing
        return axes * np.where(axes.sum(1) < 0, -1, 1)[:, None], variance / variance.sum()
