"""How a signed gradient is shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def in_gray(gradient: NDArray) -> NDArray:
    """A signed gradient ``(H, W, C)`` for display in [0, 1]: one half is zero, the 99 % quantile of |g| the end."""
    limit = float(np.quantile(np.abs(gradient), 0.99)) or float(np.abs(gradient).max()) or 1.0
    return np.clip(0.5 + 0.5 * gradient / limit, 0, 1)


def q99(values: NDArray) -> float:
    """The 99 % quantile of the sizes, which a picture shows as black and as white."""
    return float(np.quantile(np.abs(values), 0.99))


def signed_picture(values: NDArray, limit: float) -> NDArray:
    """``0.5 + 0.5 v / limit`` within [0, 1]; gray throughout where the limit is zero."""
    return np.clip(0.5 + 0.5 * values / (limit or 1.0), 0, 1)
