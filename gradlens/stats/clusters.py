"""Images of one photograph, patient or scene resemble each other: each cluster of images counts as one sample.

cluster: the name of each image's cluster ``(N,)``, or None where every image is a sample of its own. A mean stays
that of the images; only what it is uncertain by is taken from the clusters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

# A table's column of it.
CLUSTER = "cluster"
MOST_LEFT_OUT = 100
Cluster = ArrayLike | None


def cluster_of(samples: Mapping[Any, Any]) -> NDArray | None:
    """The cluster of each row of a table of images, where it says it."""
    return np.asarray(samples[CLUSTER]) if CLUSTER in samples else None


def members(cluster: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The number of each image's cluster ``(N,)``, and how many images each has."""
    _, member, size = np.unique(np.asarray(cluster), return_inverse=True, return_counts=True)
    return member, size


def mean_error(values: NDArray, cluster: Cluster = None) -> tuple[float, float]:
    """Standard error of a mean and its degrees of freedom; missing below two clusters.

    The cluster-robust variance that leverage corrects (CR2), Satterthwaite's degrees of freedom; with clusters of
    one image Student's. The working model of the latter is that a cluster's images are copies, so that clusters
    of unlike size are never too few: it covers 95 % where they are of a size, and up to 99.9 % where two of twenty
    hold half of the images. Sources: Bell & McCaffrey 2002, Pustejovsky & Tipton 2018.
    """
    n = len(values)
    if cluster is None:
        return (float(values.std(ddof=1)) / math.sqrt(n), n - 1) if n > 1 else (math.nan, math.nan)
    member, size = members(cluster)
    if len(size) < 2:
        return math.nan, math.nan
    rest = np.bincount(member, values - values.mean()) / n
    return math.sqrt((rest**2 / (1 - size / n)).sum()), freedom(size)


def freedom(size: NDArray) -> float:
    """Satterthwaite's degrees of freedom of clusters of these sizes, those of one size less one.

    The variance is S'AS of the clusters' sums S, of variance ``size²``; with ``A = W − a1' − 1a' + c``, W the
    diagonal of leverage corrections, they are tr(AV)² / tr(AVAV), here without a matrix.
    """
    share, v = size / size.sum(), size.astype(float) ** 2
    weight = 1 / (1 - share)
    a, c = weight * share, (weight * share**2).sum()
    own = weight - 2 * a + c
    pairs = c**2 * v.sum() ** 2 + 2 * v.sum() * (a**2 @ v) - 4 * c * v.sum() * (a @ v) + 2 * (a @ v) ** 2
    return float((own @ v) ** 2 / (pairs + (own**2 - (c - 2 * a) ** 2) @ v**2))


def effective(flags: NDArray, cluster: ArrayLike, level: float) -> float:
    """How many independent images would tell the share of these flags as well (Korn & Graubard 1998).

    No more than there are images; where all flags are one, the number of clusters.
    """
    from scipy.special import ndtri

    error, degrees = mean_error(flags.astype(float), cluster)
    if not degrees > 0:
        return math.nan
    share = flags.mean()
    count = min(share * (1 - share) / error**2, len(flags)) if error > 0 else degrees + 1
    # Wilson's interval takes a normal quantile.
    return float(count * (ndtri((1 + level) / 2) / quantile_of_t(level, degrees)) ** 2)


def jackknife(estimate: Callable[[NDArray[np.bool_]], float], cluster: ArrayLike) -> tuple[float, float]:
    """Standard error and degrees of freedom of any statistic, from leaving out one cluster after another.

    estimate: of the images that a mask keeps. Above 100 clusters some are left out together (Kott 2001).
    Missing below two clusters, and where the statistic cannot be had without one.
    """
    member = members(cluster)[0] % MOST_LEFT_OUT
    size = np.bincount(member)
    if len(size) < 2:
        return math.nan, math.nan
    whole = estimate(np.ones(len(member), bool))
    apart = np.array([estimate(member != k) for k in range(len(size))]) - whole
    return math.sqrt((len(size) - 1) / len(size) * (apart**2).sum()), freedom(size)


def quantile_of_t(level: float, degrees: float) -> float:
    """How many standard errors an interval reaches to either side."""
    from scipy.stats import t

    return float(t.ppf((1 + level) / 2, degrees))


def two_sided(value: float, error: float, degrees: float) -> float:
    """The p of an estimate against 0."""
    from scipy.stats import t

    return float(2 * t.sf(abs(value) / error, degrees)) if error > 0 else math.nan
