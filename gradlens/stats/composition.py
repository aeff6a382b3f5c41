"""Shares that sum to one: what moves between them is read from their log-ratios (Aitchison 1986).

A share cannot grow without another shrinking, so three t-tests of three shares would test two things
three times over. Rows are images, columns are parts; a row with a share that is zero or missing has
no logarithm and is left out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.clusters import Cluster, mean_error, quantile_of_t
from gradlens.stats.intervals import MISSING, Interval, mean_interval

Rows = NDArray[np.float64]
# Log-ratios that vary by less than what float32 resolves are constant.
CONSTANT = 1e-6


def perturb(shares: ArrayLike, weight: ArrayLike) -> Rows:
    """The shares ``(n, D)`` after each part is measured in another unit: ``s_c w_c / Σ_k s_k w_k``."""
    weighted = np.asarray(shares, dtype=np.float64) * np.asarray(weight, dtype=np.float64)
    return weighted / weighted.sum(1, keepdims=True)


def centred_log_ratios(shares: ArrayLike) -> Rows:
    """``ln s_c − mean_k ln s_k`` ``(n, D)``: 0 where a part is even with the others, ln 2 at twice their size.

    Rows sum to zero; NaN where a share is zero or missing.
    """
    s = np.asarray(shares, dtype=np.float64)
    logs = np.log(s, where=(s > 0) & np.isfinite(s), out=np.full(s.shape, np.nan))
    return logs - logs.mean(1, keepdims=True)


def isometric_log_ratios(shares: ArrayLike) -> Rows:
    """The centred log-ratios in ``D − 1`` orthonormal coordinates ``(n, D − 1)``, whose covariance has full rank.

    Source: Egozcue et al. 2003, with Helmert's contrasts.
    """
    from scipy.linalg import helmert

    centred = centred_log_ratios(shares)
    return centred @ helmert(centred.shape[1]).T


def geometric_ratio(above: ArrayLike, below: ArrayLike, level: float = 0.95, cluster: Cluster = None) -> Interval:
    """Geometric mean of ``above / below`` with Student's t interval on the logarithm ``(ratio, low, high)``."""
    log_ratio = 2 * centred_log_ratios(np.stack([above, below], 1))[:, 0]
    mean, low, high = np.exp(mean_interval(log_ratio, level, cluster)).tolist()
    return mean, low, high


def mean_distance(coordinates: ArrayLike, level: float = 0.95, cluster: Cluster = None) -> Interval:
    """How far the mean of ``(n, p)`` is from zero in the rows' own standard deviations, ``(distance, low, high)``.

    Mahalanobis: 0 not at all; at 1 the mean row is as far out as a row strays in a typical direction. There is no
    test beside it: a test over images rejects for untrained networks too, whose channels are never quite even.
    Missing below p + 1 rows, or where the rows do not vary in some direction.
    """
    x = np.asarray(coordinates, dtype=np.float64)
    known = np.isfinite(x).all(1)
    x, cluster = x[known], None if cluster is None else np.asarray(cluster)[known]
    n, p = x.shape
    if n <= p:
        return math.nan, *MISSING
    mean, covariance = x.mean(0), np.atleast_2d(np.cov(x, rowvar=False))
    if np.linalg.eigvalsh(covariance)[0] <= CONSTANT**2:
        return math.nan, *MISSING
    direction = np.linalg.solve(covariance, mean)
    squared = float(mean @ direction)
    return math.sqrt(squared), *_distance_interval(squared, (x - mean) @ direction, p, level, cluster)


def _distance_interval(squared: float, along: Rows, p: int, level: float, cluster: Cluster) -> tuple[float, float]:
    """Interval of the Mahalanobis distance D, for rows of any distribution.

    Those distances Δ for which n D² lies between the quantiles of a noncentral χ² with p degrees of
    freedom and noncentrality n Δ², as Reiser 2001 does with F. That takes √n D to vary by 1 + D²/2,
    as it does for normal rows; both sides are divided by how much it varies for these, from D's
    influence function ``(2u − u²) / 2D``, u being ``along``: each row's projection, of variance D². Over clusters
    that variance is of their means, in as much more as t reaches further than a normal quantile.
    """
    n, distance = len(along), math.sqrt(squared)
    if not distance > 0:
        return math.nan, math.nan
    unit = along / distance
    influence = unit - unit**2 * distance / 2
    variance = float(np.var(influence))
    if cluster is not None:
        error, degrees = mean_error(influence, cluster)
        variance = n * (error * quantile_of_t(level, degrees) / quantile_of_t(level, math.inf)) ** 2
    if not variance > 0:
        return math.nan, math.nan
    seen, tail = n * squared / variance, (1 - level) / 2
    low, high = (math.sqrt(_noncentrality(seen, p, q) * variance / n) for q in (1 - tail, tail))
    return low, high


def _noncentrality(seen: float, p: int, quantile: float) -> float:
    """The noncentrality at which a χ² of p degrees of freedom has this quantile at ``seen``; 0 where none has."""
    from scipy.special import chndtr, chndtrinc

    return float(chndtrinc(seen, p, quantile)) if chndtr(seen, p, 0) > quantile else 0.0
