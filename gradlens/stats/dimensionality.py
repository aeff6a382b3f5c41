"""How many directions a cloud of points fills: principal components, and the participation ratio."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

SHARES = (0.90, 0.95, 0.99)


class Dimensions(NamedTuple):
    """What a spectrum says: how many components hold 90, 95 and 99 % of the variance; NaN where nothing varies."""

    components: NDArray[np.float64]
    participation_ratio: float


def dimensions(spectrum: ArrayLike) -> Dimensions:
    """Of the eigenvalues of a covariance, in any order; those below 0 by rounding count as 0.

    The participation ratio ``(Σλ)² / Σλ²`` is 1 of points on a line and D of a ball in D dimensions, and needs no
    threshold. Source: Gao et al. 2017.
    """
    values = np.sort(np.maximum(np.asarray(spectrum, np.float64), 0))[::-1]
    whole = values.sum()
    if not whole > 0:
        return Dimensions(np.full(len(SHARES), np.nan), np.nan)
    reached = np.cumsum(values) / whole
    # A share that is reached but for rounding is reached.
    components = 1 + (reached[None] < np.array(SHARES)[:, None] - 1e-12).sum(1)
    return Dimensions(components.astype(np.float64), float(whole**2 / (values**2).sum()))
