"""Estimates with their intervals; each function says what a nominal 95 % covers at n = 500, by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrik, betaincinv, expit, logit, ndtri

from gradlens.stats.clusters import Cluster, effective, jackknife, mean_error, members, quantile_of_t

Interval = tuple[float, float, float]
MISSING = (math.nan, math.nan)


def mean_interval(values: ArrayLike, level: float = 0.95, cluster: Cluster = None) -> Interval:
    """Mean with its Student-t interval ``(mean, low, high)``; missing for fewer than two values or clusters.

    Covers 95 % of normal samples, 94 % of lognormal ones of σ = 0.5 and 1. Values that are ``too_skew`` for it have
    no limits: say their median, or the mean of their logarithms.
    """
    x, cluster = finite(values, cluster)
    if len(x) == 0:
        return math.nan, *MISSING
    error, degrees = MISSING if too_skew(x, cluster) else mean_error(x, cluster)
    half = quantile_of_t(level, degrees) * error
    return float(x.mean()), float(x.mean() - half), float(x.mean() + half)


def too_skew(values: NDArray, cluster: Cluster = None) -> bool:
    """Whether a mean hangs on values that most samples lack, so that Student's interval would miss it too often.

    Cochran's rule: t errs in more than 6 % where there are fewer than 25 G² samples of skewness G. Over clusters,
    of their means. Not to be told below 25 samples. Source: Cochran 1977, section 2.15.
    """
    rest = values
    if cluster is not None:
        member, count = members(cluster)
        rest = np.bincount(member, values) / count
    rest = rest - rest.mean()
    size = math.sqrt((rest**2).mean())
    return len(rest) >= 25 and size > 0 and len(rest) < 25 * float(((rest / size) ** 3).mean()) ** 2


def share_interval(successes: float, trials: float, level: float = 0.95) -> Interval:
    """A share in [0, 1] with Wilson's score interval, which stays inside; missing without trials.

    Source: Wilson 1927.
    """
    if not trials > 0:
        return math.nan, *MISSING
    share, z2 = successes / trials, ndtri((1 + level) / 2) ** 2 / trials
    half = math.sqrt(z2 * (share * (1 - share) + z2 / 4))
    return share, *(max(0.0, min(1.0, (share + z2 / 2 + d) / (1 + z2))) for d in (-half, half))


def at_chance(successes: int, trials: int, chance: float) -> bool:
    """Whether so many right answers are what guessing gives, and not what half of what can be learnt would give.

    Guessing would reach as many once in 740 times (three standard errors) or more often; whoever is half way from
    guessing to always right would reach so few less than once in 20 times. So four of five are not chance, and one
    wrong answer says nothing.
    """
    as_many = 1.0 if successes == 0 else 1 - bdtr(successes - 1, trials, chance)
    return bool(as_many > 0.00135 and bdtr(successes, trials, (1 + chance) / 2) < 0.05)


def flags_interval(flags: ArrayLike, level: float = 0.95, cluster: Cluster = None) -> Interval:
    """The share of images that are flagged, with Wilson's interval of as many images as the clusters are worth."""
    x = np.asarray(flags, dtype=bool)
    trials = len(x) if cluster is None or not len(x) else effective(x, np.asarray(cluster), level)
    share = float(x.mean()) if len(x) else math.nan
    return share, *share_interval(share * trials, trials, level)[1:]


def quantile_interval(values: ArrayLike, p: float = 0.5, level: float = 0.95, cluster: Cluster = None) -> Interval:
    """The p-quantile between order statistics whose ranks come from the binomial distribution.

    Free of the values' distribution. The exact tail probabilities of neighbouring ranks are
    interpolated (Nyblom 1992), since whole ranks cover 98 % at p = 0.99; so it covers 94–95 % at p = 0.5,
    0.9 and 0.99. A limit beyond the outermost value is missing: the median needs 6 values, the
    0.99-quantile 368. Over clusters the share below it is that of as many images as they are worth (Woodruff 1952).
    """
    x, cluster = finite(values, cluster)
    if len(x) == 0:
        return math.nan, *MISSING
    tail, value = (1 - level) / 2, float(np.quantile(x, p))
    if cluster is not None:
        return value, *_limits_of_share(x, p, effective(x <= value, cluster, level), tail)
    x = np.sort(x)
    return value, _lower_limit(x, p, tail), -_lower_limit(-x[::-1], 1 - p, tail)


def _limits_of_share(x: NDArray, p: float, worth: float, tail: float) -> tuple[float, float]:
    """The quantiles between which the p-quantile lies, where so many independent images tell the share below it."""
    if not worth > 0:
        return MISSING
    low = betaincinv(worth * p, worth * (1 - p) + 1, tail) if (1 - p) ** worth <= tail else math.nan
    high = betaincinv(worth * p + 1, worth * (1 - p), 1 - tail) if p**worth <= tail else math.nan
    below, above = (float(np.quantile(x, q)) if math.isfinite(q) else math.nan for q in (low, high))
    return below, above


def quantile_ratio_interval(values: ArrayLike, p: float, level: float = 0.95, cluster: Cluster = None) -> Interval:
    """The p-quantile over the median; its limits come from those of both quantiles' logarithms.

    Combined by variance recovery (Zou & Donner 2008) under their asymptotic correlation; covers
    94–97 % at p = 0.9 and 0.99 of normal, lognormal and Pareto samples. Missing where the median is
    zero, and where a quantile's own limit is missing or zero. Over clusters by the jackknife.
    """
    (upper, upper_low, upper_high), (middle, middle_low, middle_high) = (
        quantile_interval(values, q, level) for q in (p, 0.5)
    )
    if not middle > 0:
        return math.nan, *MISSING
    if not min(upper_low, middle_low) > 0:
        return upper / middle, *MISSING
    if cluster is not None:
        x = np.asarray(values, dtype=np.float64)
        return upper / middle, *LOG.jackknife(lambda kept: _ratio(x[kept], p), cluster, level)
    shared = math.sqrt((1 - p) / p) if p > 0.5 else math.sqrt(p / (1 - p))

    def reach(a: float, b: float) -> float:
        return math.sqrt(a**2 + b**2 - 2 * shared * a * b)

    down = reach(math.log(upper / upper_low), math.log(middle_high / middle))
    up = reach(math.log(upper_high / upper), math.log(middle / middle_low))
    return upper / middle, upper / middle * math.exp(-down), upper / middle * math.exp(up)


def _ratio(x: NDArray, p: float) -> float:
    upper, middle = np.quantile(x, [p, 0.5])
    return float(upper / middle) if middle > 0 else math.nan


class Scale(NamedTuple):
    """A scale on which an estimate is nearly normal: there, its slope, and back."""

    forward: Callable
    slope: Callable
    backward: Callable

    def jackknife(
        self, estimate: Callable[[NDArray[np.bool_]], float], cluster: ArrayLike, level: float = 0.95
    ) -> tuple[float, float]:
        """Student's limits, on this scale, of any statistic of the images that a mask keeps, over their clusters."""
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(self.forward(estimate(np.ones(np.shape(cluster), bool))))
            error, degrees = jackknife(lambda kept: float(self.forward(estimate(kept))), cluster)
        half = quantile_of_t(level, degrees) * error if error > 0 else math.nan
        return float(self.backward(value - half)), float(self.backward(value + half))


LOG = Scale(np.log, lambda t: 1 / t, np.exp)
LOGIT = Scale(logit, lambda t: 1 / (t * (1 - t)), expit)
FISHER = Scale(np.arctanh, lambda t: 1 / (1 - t**2), np.tanh)


class Statistic(NamedTuple):
    """``estimator``: ascending samples ``(…, n)`` → estimates and standard errors ``(…)``, on ``scale``."""

    estimator: Callable[[NDArray], tuple[NDArray, NDArray]]
    scale: Scale

    def pivot(self, samples: NDArray, truth: NDArray) -> NDArray:
        """How far each sample's estimate is from the truth, in its standard errors."""
        estimate, error = self.estimator(samples)
        return (self.scale.forward(estimate) - self.scale.forward(truth)) / (error * self.scale.slope(estimate))

    def over_clusters(self, values: NDArray, cluster: ArrayLike, level: float) -> tuple[float, float]:
        """Its limits by the jackknife."""
        return self.scale.jackknife(lambda kept: float(self.estimator(np.sort(values[kept]))[0]), cluster, level)

    def limits(self, sample: NDArray, pivots: NDArray, level: float) -> tuple[float, float]:
        """What the pivots' quantiles span around one sample's estimate."""
        estimate, error = self.estimator(sample)
        far = np.quantile(pivots, [(1 + level) / 2, (1 - level) / 2], method="weibull")
        low, high = self.scale.backward(self.scale.forward(estimate) - far * error * self.scale.slope(estimate))
        return float(low), float(high)


def bootstrap_limits(
    values: ArrayLike,
    statistics: Mapping[str, Statistic],
    level: float = 0.95,
    resamples: int = 399,
    seed: int = 0,
    cluster: Cluster = None,
) -> dict[str, tuple[float, float]]:
    """Limits of the smoothed, studentised bootstrap, ``(low, high)`` of each statistic of non-negative values.

    Covers 94–95 % for the Gini coefficient, the share of the top 1 %, the coefficient of variation and
    the deviation of the logarithm, of normal and of lognormal samples with σ = 0.5 and 1, where BCa
    covers 92 % (Gini) and 80 % (variation) at σ = 1 and takes a time that grows with n². Under still
    heavier tails only the variation falls short: 86 % for a lognormal of σ = 2, 79 % for a Pareto of
    index 3, whose fourth moment is infinite.
    All statistics see the same seeded resamples. Missing below 20 positive values, where those do not
    vary, and where a resample holds none. Over clusters by the jackknife, without resamples.
    """
    given = np.asarray(values, dtype=np.float64)
    x = np.sort(given)
    positive = x[x > 0]
    if len(positive) < 20 or positive[0] == positive[-1]:
        return dict.fromkeys(statistics, MISSING)
    if cluster is not None:
        return {name: s.over_clusters(given, cluster, level) for name, s in statistics.items()}
    world, rng = _SmoothedLogs(x), np.random.default_rng(seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        itself = world.itself(rng)
        truth = {name: s.estimator(itself)[0] for name, s in statistics.items()}
        pivots = [
            {name: s.pivot(drawn, truth[name]) for name, s in statistics.items()}
            for drawn in world.samples(rng, resamples)
        ]
        joined = {name: np.concatenate([p[name] for p in pivots]) for name in statistics}
        return {name: s.limits(x, joined[name], level) for name, s in statistics.items()}


class _SmoothedLogs:
    """The world that a sample is drawn again from: its logarithms with a normal kernel, same variance.

    Zeros stay zeros. A bootstrap of the values themselves has no tail beyond the largest, and covers the
    share of the top 1 % in 88 % of lognormal samples (74 % without studentising). The bandwidth is four
    times Silverman's (1986): three still left the coefficient of variation at 92.9 %.
    """

    AT_ONCE = 1 << 17
    BANDWIDTH = 4.0

    def __init__(self, values: NDArray):
        positive = values > 0
        self._log = np.log(values, where=positive, out=np.full_like(values, -np.inf))
        log = self._log[positive]
        self._centre, deviation = log.mean(), log.std()
        spread = np.subtract(*np.quantile(log, [0.75, 0.25])) / 1.34
        narrow = min(deviation, spread) if spread > 0 else deviation
        self._bandwidth = self.BANDWIDTH * 0.9 * narrow * len(log) ** -0.2
        self._shrink = 1 / math.sqrt(1 + (self._bandwidth / deviation) ** 2)

    def samples(self, rng: np.random.Generator, count: int) -> Iterator[NDArray]:
        """``count`` ascending samples ``(…, n)``, some at a time."""
        n = len(self._log)
        at_once = max(1, self.AT_ONCE // n)
        for start in range(0, count, at_once):
            shape = (min(at_once, count - start), n)
            yield np.sort(self._values(self._log[rng.integers(n, size=shape)], rng.standard_normal(shape)))

    def itself(self, rng: np.random.Generator) -> NDArray:
        """A large ascending sample ``(N,)``: every value as often as any, with noise from every quantile."""
        each = max(8, self.AT_ONCE // len(self._log))
        level = (np.arange(each) + rng.random((len(self._log), each))) / each
        return np.sort(self._values(self._log[:, None], ndtri(level), None), axis=None)

    def _values(self, log: NDArray, noise: NDArray, axis: int | None = -1) -> NDArray:
        drawn = (log - self._centre + self._bandwidth * noise) * self._shrink
        # Relative to the largest, since no statistic knows the scale, and the square of 1e200 overflows.
        return np.exp(drawn - drawn.max(axis, keepdims=True))


def finite(values: ArrayLike, cluster: Cluster) -> tuple[NDArray, NDArray | None]:
    """Those of the values that are finite, and their clusters."""
    x = np.asarray(values, dtype=np.float64)
    known = np.isfinite(x)
    return x[known], None if cluster is None else np.asarray(cluster)[known]


def _lower_limit(x: NDArray, p: float, tail: float) -> float:
    """What the p-quantile lies below with probability ``tail``, from ascending values."""
    n = len(x)
    if bdtr(0, n, p) > tail:
        return math.nan
    # The last rank whose value the quantile lies below with at most that probability.
    rank = math.floor(bdtrik(tail, n, p)) + 1
    if rank >= n:
        return math.nan
    here, following = bdtr(rank - 1, n, p), bdtr(rank, n, p)
    a, b = (n - rank) * p * (tail - here), rank * (1 - p) * (following - tail)
    return float(x[rank - 1] + a / (a + b) * (x[rank] - x[rank - 1]))
