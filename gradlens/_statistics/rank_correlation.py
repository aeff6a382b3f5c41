"""Rank correlation over images, of which there are many and each counts as one."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from gradlens._statistics.association import spearman
from gradlens._statistics.intervals import MISSING, Interval


def spearman_interval(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> Interval:
    """Spearman's ρ with limits on Fisher's scale, ``(rho, low, high)``; pairs with a missing value are left out.

    The standard error is ``√((1 + ρ²/2) / (n − 3))`` (Bonett & Wright 2000). Missing below four pairs and
    for constant values; for models, which come in families, see ``association.family_bootstrap``.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    n, rho = int(known.sum()), spearman(x[known], y[known])
    if not abs(rho) < 1:
        return rho, *MISSING
    half = ndtri((1 + level) / 2) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)
