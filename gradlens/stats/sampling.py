"""A number of a whole set from a sample of it: by strata, and by a fit that the sample corrects."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.intervals import Interval

FOLDS = 5


class Estimate(NamedTuple):
    """A mean over a set with its variance, the degrees of freedom of that, and the share that a fit explains."""

    value: float
    variance: float
    freedom: float
    explained: float = math.nan

    @property
    def interval(self) -> Interval:
        """With its 95 % t-limits."""
        from scipy.stats import t

        half = t.ppf(0.975, max(self.freedom, 1)) * math.sqrt(max(self.variance, 0))
        return self.value, self.value - half, self.value + half


def strata_of(score: ArrayLike, count: int) -> NDArray[np.int64]:
    """Which of ``count`` strata of equal size each image belongs to, by its rank on the score."""
    rank = np.argsort(np.argsort(score, kind="stable"), kind="stable")
    return rank * count // len(rank)


def stratified(
    y: ArrayLike, rows: NDArray, stratum: NDArray[np.int64], total: int, share: bool = False, new: bool = False
) -> Estimate:
    """The mean over ``total`` images, of which those without a stratum count 0, from a sample of each stratum.

    y: of the sampled ``rows``. Variance ``Σ W² (1 − n/N) s²/n`` over strata (Cochran 1977, eq. 5.13), for the very
    images; of new ones also that of all images over their number. share: y is 0 or 1, of which a sample may see
    one kind only; a success and a failure are added to its variance. Degrees of freedom by Satterthwaite.
    """
    values, kind = np.asarray(y, float), stratum[rows]
    sizes, n = np.bincount(stratum), np.bincount(kind, minlength=stratum.max() + 1)
    mean = np.bincount(kind, values, len(n)) / np.maximum(n, 1)
    spread = np.bincount(kind, (values - mean[kind]) ** 2, len(n)) / np.maximum(n - 1, 1)
    parts = (sizes / total) ** 2 * (1 - n / sizes) * spread / np.maximum(n, 1)
    value, variance = float(sizes @ mean / total), float(parts.sum())
    freedom = (
        variance**2 / max(float((parts**2 / np.maximum(n - 1, 1)).sum()), 1e-300) if variance else len(values) - 1.0
    )
    variance += _added(value, len(values), len(stratum), total) if share else 0.0
    variance += _all_of(value, variance, sizes, n, mean, spread, total) / total if new else 0.0
    return Estimate(value, variance, freedom)


def worth(found: Estimate, y: ArrayLike, rows: NDArray, stratum: NDArray[np.int64], total: int) -> float:
    """How many labels of a plain random sample of as many images one label was worth: the ratio of variances."""
    values, kind = np.asarray(y, float), stratum[rows]
    sizes, n = np.bincount(stratum), np.bincount(kind, minlength=stratum.max() + 1)
    mean = np.bincount(kind, values, len(n)) / np.maximum(n, 1)
    spread = np.bincount(kind, (values - mean[kind]) ** 2, len(n)) / np.maximum(n - 1, 1)
    plain = (
        (1 - len(values) / total) * _all_of(found.value, found.variance, sizes, n, mean, spread, total) / len(values)
    )
    return plain / found.variance if found.variance > 0 else math.nan


def predicted(
    y: ArrayLike,
    rows: NDArray,
    score: NDArray,
    total: int,
    share: bool = False,
    new: bool = False,
    seed: int = 0,
    among: NDArray | None = None,
) -> Estimate:
    """The mean over ``total`` images from an isotonic fit on the score, corrected by the sample's residuals.

    Sampled images count as they are, the others ``f + mean(y − f)``, each residual of a fit that has not seen
    its image; variance ``(1 − n/N) σ²/n`` of the residuals (Angelopoulos et al. 2023). among: which of the scored
    images the mean is of; all are fitted. ``explained`` is out of fold, over the sampled images.
    """
    values, chosen = np.asarray(y, float), np.ones(len(score), bool) if among is None else among
    everywhere, own = _cross_fitted(values, score[rows], score, seed)
    residual, mine = values - own, chosen[rows]
    left, size, n = residual[mine], int(chosen.sum()), int(mine.sum())
    unseen = chosen.copy()
    unseen[rows] = False
    value = float(values[mine].sum() + (everywhere[unseen] + left.mean()).sum()) / total
    variance = (size / total) ** 2 * (1 - n / size) * float(left.var(ddof=1)) / n
    variance += _added(value, n, size, total) if share else 0.0
    if new:
        inside, whole = values[mine], size / total
        variance += (whole * inside.var(ddof=1) + whole * (1 - whole) * inside.mean() ** 2) / total
    all_of = float(values.var())
    explained = 1 - float((residual**2).mean()) / all_of if all_of > 0 else math.nan
    return Estimate(value, variance, n - 1.0, explained)


def _cross_fitted(y: NDArray, known: NDArray, score: NDArray, seed: int) -> tuple[NDArray, NDArray]:
    """The mean of the folds' fits at every score, and at each sampled image that of the fit without it."""
    from sklearn.isotonic import IsotonicRegression

    fold = np.random.default_rng(seed).permutation(len(y)) % min(FOLDS, len(y))
    everywhere, own = np.zeros(len(score)), np.empty(len(y))
    for k in range(fold.max() + 1):
        fit = IsotonicRegression(out_of_bounds="clip").fit(known[fold != k], y[fold != k])
        everywhere += fit.predict(score) / (fold.max() + 1)
        own[fold == k] = fit.predict(known[fold == k])
    return everywhere, own


def _added(value: float, n: int, size: int, total: int) -> float:
    """What one success and one failure add to the variance of a share; without them, 90 % at n = 100 covers .8."""
    return (size / total) ** 2 * (1 - n / size) * (value**2 + (1 - value) ** 2) / n**2


def _all_of(
    value: float, variance: float, sizes: NDArray, n: NDArray, mean: NDArray, spread: NDArray, total: int
) -> float:
    """The variance of all images, without bias: within strata, between them, and to those that count 0."""
    square = sizes @ (spread * (1 - 1 / np.maximum(n, 1)) + mean**2) / total
    return float(max(square - value**2 + variance, 0.0))
