"""Gradient magnitudes as edge maps: Sobel's of the luminance, and contour energy."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import ive

from gradlens.core.registry import edge_map
from gradlens.probes.edges.filters import Images, Maps, correlate, derivatives, luminance


@edge_map
def contour_energy(images: Images, sigma: float = 1.0) -> Maps:
    """Contour energy: blur → Sobel → root of the sum of squares over channels → blur.

    ``(B, 1, H, W)``, per pixel, non-negative; high on contours of any colour. Separable discrete
    Gaussian ``h[n] = e^{-s} I_n(s)`` over ``|n| ≤ ⌈3s⌉``, Sobel kernel ``x / (x² + y²)``, reflected
    borders (Rodríguez-Muñoz et al. 2024, EdgeReg's target). Its argument acts as a variance, which
    equals the standard deviation at 1 only.
    """
    blur = _discrete_gaussian(sigma)
    down, along = derivatives(_smooth(images, blur), (1.0, 0.5), "reflect")
    energy = down.square().add_(along.square()).sum(1, keepdim=True).sqrt()
    return _smooth(energy, blur)


def _discrete_gaussian(variance: float) -> list[float]:
    kernel = ive(np.arange(math.ceil(3 * variance) + 1), variance)
    return (kernel / (2 * kernel.sum() - kernel[0])).tolist()


def _smooth(images: Images, half: list[float]) -> Images:
    return correlate(correlate(images, half, 2, "reflect"), half, 3, "reflect")


@edge_map
def sobel(images: Images) -> Maps:
    """Sobel gradient magnitude of the luminance, ``(B, 1, H, W)``, in [0, 1].

    ``sqrt((d²_row + d²_col) / 2)`` with kernels that sum to one on each side and replicated borders:
    scikit-image's ``filters.sobel``. 0 is flat; 1 would be a step from black to white.
    """
    down, along = derivatives(luminance(images), (0.5, 0.25), "replicate")
    return ((down**2 + along**2) / 2).sqrt()
