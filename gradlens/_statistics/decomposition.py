"""What the variance of a sum is made of."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def variance_shares(first: ArrayLike, second: ArrayLike) -> tuple[float, float, float]:
    """``Var(a), Var(b), 2 Cov(a, b)`` as parts of ``Var(a + b)``, which add up to 1.

    The covariance's part is negative where one makes up for the other, and the variances' parts then
    exceed 1 together. Missing where the sum does not vary, and below two values.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if len(a) < 2:
        return math.nan, math.nan, math.nan
    covariance = np.cov(a, b)
    total = covariance.sum()
    # What rounding leaves of the variance of a constant.
    if not total > 1e-20 * max(covariance.trace(), 1):
        return math.nan, math.nan, math.nan
    return covariance[0, 0] / total, covariance[1, 1] / total, 2 * covariance[0, 1] / total
