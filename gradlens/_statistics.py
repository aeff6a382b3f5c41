"""Statistics of one number an image, in numpy; every function says how to read it."""

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


def mean_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Mean with its Student-t interval ``(mean, low, high)``; missing for fewer than two values."""
    from scipy.stats import t

    x = np.asarray(values, dtype=np.float64)
    x = x[np.isfinite(x)]
    if len(x) < 2:
        return (float(x.mean()) if len(x) else float("nan"), float("nan"), float("nan"))
    half = t.ppf((1 + level) / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return float(x.mean()), float(x.mean() - half), float(x.mean() + half)
