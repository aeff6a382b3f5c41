"""Noise that a sensor or a line adds: Gaussian, shot and impulse noise."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from skimage.util import random_noise

from gradlens.core.registry import corruption
from gradlens.probes.corruptions import strength


@corruption
def gaussian_noise(image: NDArray, severity: int, random: Generator) -> NDArray:
    """Normal noise in every pixel and channel, as of a sensor in dim light."""
    deviation = strength(image, severity, (0.08, 0.12, 0.18, 0.26, 0.38), (0.04, 0.06, 0.08, 0.09, 0.10))
    return image + random.normal(0, deviation, image.shape)


@corruption
def shot_noise(image: NDArray, severity: int, random: Generator) -> NDArray:
    """Poisson noise of so many photons at full brightness."""
    photons = strength(image, severity, (60, 25, 12, 5, 3), (500, 250, 100, 75, 50))
    return random.poisson(image * photons) / photons


@corruption
def impulse_noise(image: NDArray, severity: int, random: Generator) -> NDArray:
    """Salt and pepper: a share of all values becomes 0 or 1."""
    share = strength(image, severity, (0.03, 0.06, 0.09, 0.17, 0.27), (0.01, 0.02, 0.03, 0.05, 0.07))
    return np.asarray(random_noise(image, mode="s&p", amount=share, rng=random))
