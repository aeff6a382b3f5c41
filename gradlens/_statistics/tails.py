"""How unequally a quantity is spread over images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def gini(values: ArrayLike) -> float:
    """Gini coefficient of non-negative values: 0 all equal, towards 1 one value holds everything.

    Depends on the sample size for heavy tails: compare at equal n.
    """
    x = np.sort(np.asarray(values, dtype=np.float64))
    total = x.sum()
    if len(x) == 0 or not total > 0:
        return float("nan")
    rank = np.arange(1, len(x) + 1)
    return float((2 * rank - len(x) - 1) @ x / (len(x) * total))
