"""How well one number an image separates two groups of images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def auc(score: ArrayLike, positive: ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties counting one half (Mann–Whitney).

    1 separates perfectly, 0.5 says nothing; missing where one of the two groups is empty.
    """
    from scipy.stats import rankdata

    score, mask = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=bool)
    keep = np.isfinite(score)
    score, mask = score[keep], mask[keep]
    n, m = int(mask.sum()), int((~mask).sum())
    if n == 0 or m == 0:
        return float("nan")
    return float((rankdata(score)[mask].sum() - n * (n + 1) / 2) / (n * m))
