"""What a difference between two models is worth: intervals, effect sizes and p-values for many measures at once.

``difference`` is always the second minus the first. Rows are what was sampled (images, or training
seeds), columns are measures; NaN marks what is missing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rows = NDArray[np.float64]
# Statistics that differ by rounding only are ties.
TIE = 1e-9
ROUNDING = 1e-12
CHUNK = 1 << 22
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


def sign_flip_max_t(difference: ArrayLike, flips: int = 2000, seed: int = 0) -> Rows:
    """p of each column of paired differences ``(n, k)``, adjusted for the others by the largest |t| of each flip.

    Under the null the sign of an image's differences is a coin toss, the same for all its measures, so
    their correlation is kept (Westfall & Young 1993). All 2ⁿ flips where there are at most ``flips``.
    A column's statistic Σd / √Σd² is a monotone function of its t, which stays finite.
    """
    columns = np.nan_to_num(np.asarray(difference, dtype=np.float64), posinf=0.0, neginf=0.0)
    columns = _unit(columns)
    n = len(columns)
    exact = 2**n <= flips if n < 60 else False
    signs = _all_signs(n) if exact else _random_signs(n, flips, np.random.default_rng(seed))
    return _max_t_p(columns, np.ones((1, n)), signs, exact)


def relabel_max_t(values: ArrayLike, second: ArrayLike, relabellings: int = 2000, seed: int = 0) -> Rows:
    """p of each column of ``values (runs, k)`` for the difference between two groups of runs, adjusted like the above.

    second ``(runs,)``: which runs are of the second group. Under the null the labels are arbitrary; all
    ways to give them out are tried where there are at most ``relabellings``, so no p is below two in
    their number for equal groups: 0.1 with three seeds each, 0.008 with five.
    """
    values, label = np.asarray(values, dtype=np.float64), np.asarray(second, dtype=bool)
    columns = _unit(values - values.mean(0))
    n, m = len(label), int(label.sum())
    exact = math.comb(n, m) <= relabellings
    rows = _all_labels(n, m) if exact else _random_labels(label, relabellings, np.random.default_rng(seed))
    return _max_t_p(columns, label[None] - m / n, (row - m / n for row in rows), exact)


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


def _unit(columns: Rows) -> Rows:
    """Columns of length one; those of zeros stay."""
    length = np.linalg.norm(columns, axis=0)
    return columns / np.where(length > 0, length, 1)


def _max_t_p(columns: Rows, observed: Rows, contrasts: Iterable[Rows], exact: bool) -> Rows:
    """Share of contrasts ``(c, n)`` whose largest statistic reaches each column's own.

    A random choice counts the observed one as one more, which keeps the level.
    """
    if columns.shape[1] == 0:
        return np.empty(0)
    own = np.abs(observed @ columns)[0]
    largest = np.concatenate([np.abs(c @ columns).max(1) for c in contrasts])
    reached = (largest[:, None] >= own * (1 - TIE)).sum(0)
    return np.where(own > 0, (reached + (not exact)) / (len(largest) + (not exact)), np.nan)


def _chunks(rows: int, width: int) -> Iterator[int]:
    size = max(1, CHUNK // max(width, 1))
    return (min(size, rows - start) for start in range(0, rows, size))


def _all_signs(n: int) -> Iterator[Rows]:
    yield np.array(list(itertools.product((1.0, -1.0), repeat=n)))


def _random_signs(n: int, rows: int, rng: np.random.Generator) -> Iterator[Rows]:
    for size in _chunks(rows, n):
        bits = np.unpackbits(np.frombuffer(rng.bytes(size * -(-n // 8)), np.uint8).reshape(size, -1), axis=1, count=n)
        yield 2.0 * bits.astype(np.float64) - 1.0


def _all_labels(n: int, m: int) -> Iterator[Rows]:
    chosen = np.array(list(itertools.combinations(range(n), m)))
    rows = np.zeros((len(chosen), n))
    np.put_along_axis(rows, chosen, 1.0, axis=1)
    yield rows


def _random_labels(label: NDArray[np.bool_], rows: int, rng: np.random.Generator) -> Iterator[Rows]:
    yield rng.permuted(np.tile(label.astype(np.float64), (rows, 1)), axis=1)


def _resampled(draws: int, runs: int, rng: np.random.Generator) -> Rows:
    """How often each run is taken when as many are drawn with replacement, over their number."""
    return rng.multinomial(runs, np.full(runs, 1 / runs), size=draws) / runs
