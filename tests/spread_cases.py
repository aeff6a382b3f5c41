"""Numbers of spread, each with its statistic of a sample, and how often intervals hold the truth."""

import numpy as np
import pytest

from gradlens.stats.intervals import LOG, LOGIT, Statistic
from gradlens.stats.tails import (
    coefficient_of_variation,
    gini,
    gini_estimate,
    log_deviation,
    log_deviation_estimate,
    top_share,
    top_share_estimate,
    variation_estimate,
)

SPREAD = {
    "gini": (gini, Statistic(gini_estimate, LOGIT)),
    "variation": (coefficient_of_variation, Statistic(variation_estimate, LOG)),
    "top share": (top_share, Statistic(top_share_estimate, LOGIT)),
    "log deviation": (log_deviation, Statistic(log_deviation_estimate, LOG)),
}
STATISTICS = {name: statistic for name, (_, statistic) in SPREAD.items()}
each_spread = pytest.mark.parametrize("name", SPREAD)


def covered(intervals, truth):
    """The share of ``(estimate, low, high)`` that hold the truth."""
    _, low, high = np.transpose(intervals)
    return ((low <= truth) & (truth <= high)).mean()
