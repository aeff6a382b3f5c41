"""How a signed gradient is shown: gray is zero, and the 99 % quantile of its size is black and white."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def scale_of(*gradients: NDArray) -> float:
    """The size that saturates: the largest of their 99 % quantiles, of a sparse one its largest value; 1 for zeros.

    So a gradient that is zero at 99 % of the pixels is seen, and not blank gray.
    """
    sizes = [np.abs(gradient) for gradient in gradients]
    return max((float(np.quantile(size, 0.99)) or float(size.max(initial=0.0)) for size in sizes), default=0.0) or 1.0


def in_gray(gradient: NDArray, scale: float | None = None) -> NDArray:
    """A signed gradient as pixels in [0, 1], ``0.5 + 0.5 g / scale``; scale: by default its own."""
    return np.clip(0.5 + 0.5 * gradient / (scale or scale_of(gradient)), 0, 1)
