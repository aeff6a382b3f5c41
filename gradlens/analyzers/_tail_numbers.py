"""How unequally gradient size is spread over a run's images, and what its spread is made of."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gradlens.analyzers._base import Summary
from gradlens.analyzers._summaries import explained, merged
from gradlens.core.names import with_limits
from gradlens.stats.intervals import LOG, LOGIT, MISSING, Statistic, bootstrap_limits, quantile_ratio_interval
from gradlens.stats.tails import (
    coefficient_of_variation,
    expected_at,
    gini,
    gini_estimate,
    log_deviation,
    log_deviation_estimate,
    tail_index,
    top_share,
    top_share_estimate,
    variance_shares,
    variation_estimate,
)

FIXED_SIZE = 200
SPREAD = {
    "l1_gini": (gini, Statistic(gini_estimate, LOGIT)),
    "l1_cv": (coefficient_of_variation, Statistic(variation_estimate, LOG)),
    "l1_top_share": (top_share, Statistic(top_share_estimate, LOGIT)),
    "l1_log_sd": (log_deviation, Statistic(log_deviation_estimate, LOG)),
}
DEPEND_ON_SIZE = ("l1_gini", "l1_cv", "l1_top_share")


def tail_numbers(l1: NDArray) -> Summary:
    """Of the finite norms: inequality with limits and at 200 images, quantile ratios, Hill's index."""
    ratios = {f"l1_q{p}_ratio": quantile_ratio_interval(l1, p / 100) for p in (90, 99)}
    return merged(
        [
            _spread(l1),
            _spread_at_fixed_size(l1),
            *(explained(with_limits(name, ratio), _why_no_ratio(l1)) for name, ratio in ratios.items()),
            explained(with_limits("l1_tail_index", tail_index(l1)), _why_no_tail(l1)),
        ]
    )


def decomposition(l1: NDArray, l1_logit: NDArray) -> Summary:
    """Parts of Var(log L1) that the error mass and the logits' own steepness have in it."""
    kept = (l1 > 0) & (l1_logit > 0) & np.isfinite(l1) & np.isfinite(l1_logit)
    steepness = np.log(l1_logit[kept])
    shares = variance_shares(np.log(l1[kept]) - steepness, steepness)
    names = [f"log_l1_share_{of}" for of in ("error_mass", "l1_logit", "covariance")]
    left_out = Summary({"log_l1_left_out": int((~kept).sum())})
    return merged([explained(dict(zip(names, shares, strict=True)), "log L1 does not vary"), left_out])


def _spread(l1: NDArray) -> Summary:
    points = {name: measure(l1) for name, (measure, _) in SPREAD.items()}
    limits = bootstrap_limits(l1, {name: s for name, (_, s) in SPREAD.items() if math.isfinite(points[name])})
    intervals = [with_limits(name, (point, *limits.get(name, MISSING))) for name, point in points.items()]
    return merged(explained(interval, _why_no_tail(l1)) for interval in intervals)


def _spread_at_fixed_size(l1: NDArray) -> Summary:
    found = expected_at(l1, {name: SPREAD[name][1].estimator for name in DEPEND_ON_SIZE}, FIXED_SIZE)
    few = f"fewer than {FIXED_SIZE} images" if len(l1) < FIXED_SIZE else "nearly every gradient is zero"
    return explained({f"{name}_at_{FIXED_SIZE}": value for name, value in found.items()}, few)


def _why_no_tail(l1: NDArray) -> str:
    positive = l1[l1 > 0]
    if len(positive) == 0:
        return "no gradient is above zero"
    if np.ptp(positive) == 0:
        return "every gradient has the same size"
    if len(positive) < 20:
        return "fewer than 20 gradients are above zero"
    return "fewer than 100 images have no largest 1 %" if len(l1) < 100 else "nearly every gradient is zero"


def _why_no_ratio(l1: NDArray) -> str:
    if len(l1) and not np.median(l1) > 0:
        return "half of the gradients are zero"
    return "too few images for the quantile's limits"
