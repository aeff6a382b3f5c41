"""Blur: out of focus, through frosted glass, of a moving camera, of one that comes nearer."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, gaussian_filter, zoom
from scipy.signal import fftconvolve

from gradlens.core.registry import corruption
from gradlens.probes.corruptions import by_channel, strength


@corruption
def defocus_blur(image: NDArray, severity: int, random: Generator) -> NDArray:
    """The image of a lens out of focus: each point becomes a disk, whose rim is smoothed a little."""
    large = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))
    radius, softness = strength(image, severity, large, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)))
    return _convolved(image, _disk(radius, softness))


def _disk(radius: float, softness: float) -> NDArray:
    """A disk of sum 1, smoothed by a Gaussian of 3 taps, of 5 from a radius of 9.

    As published it is smoothed after it was divided by its sum, which brightens radius 10 by a hundredth,
    where the disk touches the border.
    """
    reach = max(8, math.ceil(radius))
    place = np.arange(-reach, reach + 1)
    disk = (place**2 + place[:, None] ** 2 <= radius**2).astype(float)
    disk /= disk.sum()
    taps = np.exp(-((np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)) ** 2) / (2 * softness**2))
    for axis in (0, 1):
        disk = correlate1d(disk, taps / taps.sum(), axis=axis, mode="mirror")
    return disk


def _convolved(image: NDArray, kernel: NDArray) -> NDArray:
    reach = len(kernel) // 2
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    return by_channel(lambda channel: fftconvolve(channel, kernel, mode="valid"), padded)


@corruption
def glass_blur(image: NDArray, severity: int, random: Generator) -> NDArray:
    """The view through frosted glass: blurred, then neighbouring pixels swapped at random, then blurred again."""
    large = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))
    small = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
    sigma, reach, rounds = strength(image, severity, large, small)
    blurred = _gaussian(image, sigma)
    order = np.arange(image.shape[0] * image.shape[1]).tolist()
    for _ in range(rounds):
        _swap_neighbours(order, image.shape[0], image.shape[1], reach, random)
    return _gaussian(blurred.reshape(-1, image.shape[2])[order].reshape(image.shape), sigma)


def _swap_neighbours(order: list[int], height: int, width: int, reach: int, random: Generator) -> None:
    """Swap each pixel but the outermost, from the last to the first, with one up to so far away."""
    rows, columns = np.arange(height - reach, reach, -1), np.arange(width - reach, reach, -1)
    moves = random.integers(-reach, reach, size=(len(rows), len(columns), 2))
    here = rows[:, None] * width + columns
    there = (here + moves[..., 0] * width + moves[..., 1]).ravel().tolist()
    # One after another, since a pixel may be swapped several times; lists are quicker at that than arrays.
    for one, other in zip(here.ravel().tolist(), there, strict=True):
        order[one], order[other] = order[other], order[one]


def _gaussian(image: NDArray, sigma: float) -> NDArray:
    return gaussian_filter(image, sigma, axes=(0, 1), mode="nearest", truncate=4)


@corruption
def motion_blur(image: NDArray, severity: int, random: Generator) -> NDArray:
    """The trace of a camera that moves along a line within 45 degrees of the horizontal."""
    large = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
    radius, sigma = strength(image, severity, large, ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)))
    return moved(image, radius, sigma, random.uniform(-45, 45))


def moved(image: NDArray, radius: int, sigma: float, degrees: float) -> NDArray:
    """The mean of an image shifted along a line, with the weights of one half of a Gaussian."""
    way = np.arange(2 * radius + 1)
    weights = np.exp(-(way**2) / (2 * sigma**2))
    # Whole pixels, halves towards zero.
    down, right = (np.ceil(way * turn - 0.5).astype(int) for turn in _direction(degrees))
    reach = 2 * radius + 1
    padded = np.pad(image, ((reach, reach), (reach, reach)) + ((0, 0),) * (image.ndim - 2), mode="edge")
    height, width = image.shape[:2]
    found = np.zeros_like(image)
    for weight, y, x in zip(weights / weights.sum(), down + reach, right + reach, strict=True):
        found += weight * padded[y : y + height, x : x + width]
    return found


def _direction(degrees: float) -> tuple[float, float]:
    return math.sin(math.radians(degrees)), math.cos(math.radians(degrees))


@corruption
def zoom_blur(image: NDArray, severity: int, random: Generator) -> NDArray:
    """The trace of a camera that moves towards the picture: the mean of the image at rising magnifications."""
    large = ((0.11, 0.01), (0.16, 0.01), (0.21, 0.02), (0.26, 0.02), (0.31, 0.03))
    small = ((0.06, 0.01), (0.11, 0.01), (0.16, 0.01), (0.21, 0.01), (0.26, 0.01))
    span, step = strength(image, severity, large, small)
    factors = np.arange(1, 1 + span, step)
    return by_channel(lambda one: (one + sum(zoomed(one, factor) for factor in factors)) / (len(factors) + 1), image)


def zoomed(image: NDArray, factor: float) -> NDArray:
    """The middle of an image ``(H, W)``, magnified to the image's own size by linear interpolation."""
    height, width = image.shape
    rows, columns = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - rows) // 2, (width - columns) // 2
    large = zoom(image[top : top + rows, left : left + columns], factor, order=1)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return large[top : top + height, left : left + width]
