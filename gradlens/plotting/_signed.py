"""Signed values, such as gradients and perturbations, as pictures in which gray is zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def q99(values: NDArray) -> float:
    """The 99 % quantile of the sizes, which a picture shows as black and as white."""
    return float(np.quantile(np.abs(values), 0.99))


def signed_picture(values: NDArray, limit: float) -> NDArray:
    """``0.5 + 0.5 v / limit`` within [0, 1]; gray throughout where the limit is zero."""
    return np.clip(0.5 + 0.5 * values / (limit or 1.0), 0, 1)
