"""How unequally a quantity is spread over images, and how heavy its upper tail is.

Statistics that a bootstrap repeats come as functions of ascending samples ``(…, n)`` to
``(estimate, standard error)``, each ``(…)``; the errors are those of the influence function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.clusters import Cluster
from gradlens.stats.intervals import LOG, MISSING, Interval

Estimates = tuple[NDArray, NDArray]
TOP = 0.01


def gini(values: ArrayLike) -> float:
    """Gini coefficient of non-negative values: 0 all equal, towards 1 one value holds everything.

    Depends on the sample size for heavy tails: compare at equal n.
    """
    return _estimate(gini_estimate, values)


def coefficient_of_variation(values: ArrayLike) -> float:
    """Standard deviation over mean: 0 all equal, √n one value holds everything; grows with n under heavy tails."""
    return _estimate(variation_estimate, values, at_least=2)


def top_share(values: ArrayLike) -> float:
    """What the largest 1 % of values hold of the sum: 0.01 all equal, 1 everything.

    1 minus the Lorenz curve at 0.99, linear between images. Grows with n under heavy tails; missing
    below 100 values, of which one is more than 1 %.
    """
    return _estimate(top_share_estimate, values, at_least=round(1 / TOP))


def log_deviation(values: ArrayLike) -> float:
    """Standard deviation of the natural logarithm of the positive values.

    0 all equal; 1 a factor e either side of the geometric mean. Does not hear single outliers, and
    does not depend on n.
    """
    return _estimate(log_deviation_estimate, values, at_least=2)


def tail_index(values: ArrayLike, level: float = 0.95, cluster: Cluster = None) -> Interval:
    """Hill's index α of ``P(X > x) ~ x^−α`` from the ⌈√n⌉ largest positive values, ``(α, low, high)``.

    At α ≤ 2 the variance is infinite, at α ≤ 1 the mean is, and sums are ruled by single images;
    above 4 the tail is light. The logarithms of a Pareto tail over its threshold are exponential, so
    ``2kα/α̂`` is χ² with 2k degrees and the interval is exact there; elsewhere it does not hold the
    bias of the tail's shape (a lognormal's index grows slowly without end). Missing below 20
    positive values and where the largest are equal. Over clusters by the jackknife. Source: Hill 1975.
    """
    from scipy.stats import chi2

    x = np.asarray(values, dtype=np.float64)
    alpha, k = _hill(x)
    if not alpha > 0:
        return math.nan, *MISSING
    if cluster is not None:
        return alpha, *LOG.jackknife(lambda kept: _hill(x[kept])[0], cluster, level)
    low, high = chi2.ppf([(1 - level) / 2, (1 + level) / 2], 2 * k) / (2 * k) * alpha
    return alpha, float(low), float(high)


def _hill(values: NDArray) -> tuple[float, int]:
    x = np.sort(values[values > 0])
    k = math.ceil(math.sqrt(len(x)))
    if len(x) < 20 or not x[-1] > x[-k - 1]:
        return math.nan, k
    return float(k / np.log(x[-k:] / x[-k - 1]).sum()), k


def expected_at(
    values: ArrayLike,
    estimators: Mapping[str, Callable[[NDArray], Estimates]],
    size: int = 200,
    subsamples: int = 1000,
    seed: int = 0,
) -> dict[str, float]:
    """The statistics' mean over random subsamples of ``size`` images, which samples of any n share.

    Drawn without replacement: each shuffle is cut into disjoint subsamples. Missing where there are
    fewer than ``size`` values, or so few above zero that a subsample holds none.
    """
    x = np.asarray(values, dtype=np.float64)
    if len(x) < size:
        return dict.fromkeys(estimators, math.nan)
    rng, each = np.random.default_rng(seed), len(x) // size
    shuffles = (rng.permutation(x)[: each * size].reshape(each, size) for _ in range(-(-subsamples // each)))
    drawn = np.sort(np.concatenate(list(shuffles))[:subsamples])
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: float(estimate(drawn)[0].mean()) for name, estimate in estimators.items()}


def gini_estimate(x: NDArray) -> Estimates:
    """Half the mean distance of two values over their mean."""
    n, mean = x.shape[-1], x.mean(-1, keepdims=True)
    below = (np.cumsum(x, -1) - x / 2) / n
    # The mean distance of each value from all.
    distance = x * (2 * np.arange(1, n + 1) - 1 - n) / n + mean - 2 * below
    value = distance.mean(-1, keepdims=True) / (2 * mean)
    return value[..., 0], _error((distance - value * x) / mean)


def variation_estimate(x: NDArray) -> Estimates:
    """Standard deviation over mean."""
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True, ddof=1)
    value = np.sqrt(variance) / mean
    from_spread = ((x - mean) ** 2 - variance) * value / (2 * np.maximum(variance, np.finfo(float).tiny))
    return value[..., 0], _error(from_spread - value * x / mean)


def top_share_estimate(x: NDArray) -> Estimates:
    """What the largest 1 % hold of the sum."""
    n, mean = x.shape[-1], x.mean(-1, keepdims=True)
    # The first value that is not wholly among them; rounded, since 0.01 is not a binary fraction.
    threshold = x[..., n - math.floor(round(TOP * n, 9)) - 1, None]
    held = np.maximum(x - threshold, 0) + TOP * threshold
    value = held.mean(-1, keepdims=True) / mean
    return value[..., 0], _error((held - value * x) / mean)


def log_deviation_estimate(x: NDArray) -> Estimates:
    """Standard deviation of the logarithm of what is positive."""
    positive = x > 0
    count = positive.sum(-1, keepdims=True)
    log = np.log(x, where=positive, out=np.zeros_like(x))
    centred = np.where(positive, log - log.sum(-1, keepdims=True) / count, 0)
    value = np.sqrt((centred**2).sum(-1, keepdims=True) / (count - 1))
    influence = np.where(positive, centred**2 - value**2, 0) / (2 * np.maximum(value, np.finfo(float).tiny))
    return value[..., 0], np.sqrt((influence**2).sum(-1)) / count[..., 0]


def _error(influence: NDArray) -> NDArray:
    return influence.std(-1) / math.sqrt(influence.shape[-1])


def _estimate(estimator: Callable[[NDArray], Estimates], values: ArrayLike, at_least: int = 1) -> float:
    """The estimate of one sample; missing where it is too small, zero everywhere or not finite."""
    x = np.sort(np.asarray(values, dtype=np.float64))
    if len(x) < at_least or not x.sum() > 0:
        return math.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(estimator(x)[0])


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
