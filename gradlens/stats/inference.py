"""What a difference between two models is worth: intervals, effect sizes and p-values for many measures at once.

``difference`` is always the second minus the first. Rows are what was sampled (images, or training
seeds), columns are measures; NaN marks what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rows = NDArray[np.float64]
ROUNDING = 1e-12


class Estimate(NamedTuple):
    """A mean or difference with its interval and two-sided p; NaN where it cannot be had."""

    value: float
    low: float
    high: float
    p: float


def paired_t(difference: ArrayLike, level: float = 0.95) -> Estimate:
    """Student's t for the mean of paired differences; needs two that differ from each other."""
    from scipy.stats import ttest_1samp

    x = _finite(difference)
    value = float(x.mean()) if len(x) else math.nan
    if not _spread(x) > 0:
        return Estimate(value, math.nan, math.nan, math.nan)
    test = ttest_1samp(x, 0)
    low, high = test.confidence_interval(level)
    return Estimate(value, float(low), float(high), float(test.pvalue))


def welch_t(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> Estimate:
    """Welch's t for the difference of two means, second minus first, of groups of any sizes from two on."""
    from scipy.stats import t

    a, b = _finite(first), _finite(second)
    value = float(b.mean() - a.mean()) if len(a) and len(b) else math.nan
    if min(len(a), len(b)) < 2:
        return Estimate(value, math.nan, math.nan, math.nan)
    parts = _spread(a) ** 2 / len(a), _spread(b) ** 2 / len(b)
    error = math.sqrt(sum(parts))
    if not error > 0:
        return Estimate(value, math.nan, math.nan, math.nan)
    # Not ttest_ind, which warns of a group whose values are equal.
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    half = float(t.ppf((1 + level) / 2, freedom)) * error
    return Estimate(value, value - half, value + half, float(2 * t.sf(abs(value) / error, freedom)))


def d_z(difference: ArrayLike) -> float:
    """Mean of paired differences in their standard deviations: 0.2 small, 0.5 medium, 0.8 large (Cohen 1988)."""
    x = _finite(difference)
    spread = _spread(x)
    return float(x.mean() / spread) if spread > 0 else math.nan


def hedges_g(first: ArrayLike, second: ArrayLike) -> float:
    """Difference of two means in pooled standard deviations, without the upward bias of few values (Hedges 1981)."""
    a, b = _finite(first), _finite(second)
    if min(len(a), len(b)) < 2:
        return math.nan
    freedom = len(a) + len(b) - 2
    pooled = math.sqrt(((len(a) - 1) * _spread(a) ** 2 + (len(b) - 1) * _spread(b) ** 2) / freedom)
    return float((1 - 3 / (4 * freedom - 1)) * (b.mean() - a.mean()) / pooled) if pooled > 0 else math.nan


def share_greater(difference: ArrayLike) -> float:
    """P(second > first) on the same image, ties counting one half: 0.5 says nothing."""
    x = _finite(difference)
    return float(np.mean((x > 0) + (x == 0) / 2)) if len(x) else math.nan


def holm(p: ArrayLike) -> Rows:
    """p-values adjusted so that the chance of any false finding among them stays below the level (Holm 1979).

    Missing ones are left out of the count.
    """
    p = np.asarray(p, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known])]
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return adjusted


def crossed_t(first: Sequence[Rows], second: Sequence[Rows], level: float = 0.95) -> list[Estimate]:
    """Difference of the means of two groups of runs, of whose seeds and images both are samples; one for each column.

    first: an array ``(images, k)`` a run, second alike on the same images; an image that any run lacks is left
    out of its column. ``V = V_seed + V_image − V_residual``, no less than either, with Satterthwaite's degrees
    of freedom. It speaks of new seeds and new images, where Welch's t on the seeds' means speaks of new seeds
    only. Needs two seeds a group and two images. Covers 93 to 97 % with 5 or 10 seeds.
    """
    groups = [np.stack(group) for group in (first, second)]
    known = np.logical_and.reduce([np.isfinite(group).all(0) for group in groups])
    return [_crossed([group[:, rows, k] for group in groups], level) for k, rows in enumerate(known.T)]


def _crossed(groups: Sequence[Rows], level: float) -> Estimate:
    """Of one column: a group is ``(seeds, images)``."""
    from scipy.stats import t

    images = groups[0].shape[1]
    value = float(groups[1].mean() - groups[0].mean()) if images else math.nan
    if min(images, *map(len, groups)) < 2:
        return Estimate(value, math.nan, math.nan, math.nan)
    over_images = groups[1].mean(0) - groups[0].mean(0)
    parts = [(_spread(over_images) ** 2 / images, images - 1)]
    residual = []
    for group in groups:
        seeds, own = len(group), group.mean(1)
        parts.append((_spread(own) ** 2 / seeds, seeds - 1))
        freedom = (seeds - 1) * (images - 1)
        rest = group - own[:, None] - group.mean(0) + group.mean()
        # What both of the others hold: the noise of one image under one seed.
        residual.append((float((rest**2).sum()) / freedom / seeds / images, freedom))
    of_images, of_seeds = parts[0][0], parts[1][0] + parts[2][0]
    variance = max(of_images + of_seeds - sum(v for v, _ in residual), of_images, of_seeds)
    if not variance > 0:
        return Estimate(value, math.nan, math.nan, math.nan)
    degrees = variance**2 / sum(v**2 / f for v, f in parts + residual)
    error = math.sqrt(variance)
    half = float(t.ppf((1 + level) / 2, degrees)) * error
    return Estimate(value, value - half, value + half, float(2 * t.sf(abs(value) / error, degrees)))


def equal(values: ArrayLike) -> bool:
    """Whether values differ by no more than rounding."""
    x = np.asarray(values, dtype=np.float64)
    return len(x) < 2 or bool(np.ptp(x) <= ROUNDING * np.abs(x).max())


def _spread(values: Rows) -> float:
    """Standard deviation, exactly zero for values that are equal."""
    return 0.0 if equal(values) else float(values.std(ddof=1))


def _finite(values: ArrayLike) -> Rows:
    x = np.asarray(values, dtype=np.float64)
    return x[np.isfinite(x)]
