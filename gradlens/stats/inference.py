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
BLOCKS = 1000


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


def hierarchical_bootstrap(
    first: Sequence[Rows], second: Sequence[Rows], level: float = 0.95, draws: int = 1000, seed: int = 0
) -> tuple[Rows, Rows]:
    """Percentile interval ``(low (k,), high (k,))`` of the difference of means of two groups of runs.

    first: an array ``(images, k)`` a run, second alike on the same images. A draw takes runs with
    replacement in each group, and images with replacement once for all runs, since they share them;
    images that miss a column in any run are left out of it. Beyond 1,000 images they are drawn in so
    many random blocks, which vary as much. It speaks of new seeds and new images, where t on the
    seeds' means speaks of new seeds only. With few seeds it is too narrow: a variance from s of them
    is short by the factor (s − 1) / s, and percentiles do not know of t's tails.
    """
    known = np.asarray(np.logical_and.reduce([np.isfinite(run) for run in (*first, *second)]))
    if min(len(first), len(second)) < 2 or len(known) < 2:
        return np.full(known.shape[1], np.nan), np.full(known.shape[1], np.nan)
    rng = np.random.default_rng(seed)
    order, blocks = rng.permutation(len(known)), min(len(known), BLOCKS)
    weight = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws).astype(np.float64)
    counts = weight @ _block_sums(known.astype(np.float64), order, blocks)
    means = []
    for group in (first, second):
        sums = [weight @ _block_sums(np.where(known, run, 0.0), order, blocks) for run in group]
        means.append(np.einsum("dr,rdk->dk", _resampled(draws, len(group), rng), sums))
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = (means[1] - means[0]) / counts
    low, high = np.quantile(difference, ((1 - level) / 2, (1 + level) / 2), axis=0)
    return low, high


def _block_sums(values: Rows, order: NDArray[np.int64], blocks: int) -> Rows:
    """Sums ``(blocks, k)`` over the rows, dealt out in this order as evenly as they go."""
    starts = np.arange(blocks) * len(order) // blocks
    return np.add.reduceat(values[order], starts, axis=0)


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


def _resampled(draws: int, runs: int, rng: np.random.Generator) -> Rows:
    """How often each run is taken when as many are drawn with replacement, over their number."""
    return rng.multinomial(runs, np.full(runs, 1 / runs), size=draws) / runs
