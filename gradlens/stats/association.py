"""How one number goes with another: rank correlations, over all models and within families.

Models come in families, which resemble each other; images count as independent where no cluster says otherwise.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from gradlens.stats.clusters import Cluster
from gradlens.stats.inference import equal
from gradlens.stats.intervals import FISHER, MISSING, Interval

# With three models ρ can only be ±1 or ±0.5.
FEWEST_MODELS = 4
FEWEST_FAMILIES = 3


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank correlation: 1 the same order, 0 none, −1 the reverse; missing for too few or constant values."""
    from scipy.stats import spearmanr

    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(x) < FEWEST_MODELS or equal(x) or equal(y):
        return math.nan
    return float(spearmanr(x, y).statistic)


def spearman_interval(x: ArrayLike, y: ArrayLike, level: float = 0.95, cluster: Cluster = None) -> Interval:
    """Spearman's ρ with limits on Fisher's scale, ``(rho, low, high)``; pairs with a missing value are left out.

    The standard error is ``√((1 + ρ²/2) / (n − 3))`` (Bonett & Wright 2000). Missing below four pairs and
    for constant values; for models see ``family_bootstrap``. Over clusters by the jackknife.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    known = np.isfinite(x) & np.isfinite(y)
    n, rho = int(known.sum()), spearman(x[known], y[known])
    if not abs(rho) < 1:
        return rho, *MISSING
    if cluster is not None:
        pair = np.stack([x, y])[:, known]
        return rho, *FISHER.jackknife(lambda kept: spearman(*pair[:, kept]), np.asarray(cluster)[known], level)
    half = ndtri((1 + level) / 2) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)


def spearman_within(x: ArrayLike, y: ArrayLike, family: ArrayLike) -> float:
    """Rank correlation after each family's mean rank is taken out: what is left when families are told apart.

    Missing where no family has two models, or too few models are left over the families' means.
    """
    _, member = np.unique(np.asarray(family), return_inverse=True)
    if len(member) - member.max(initial=0) - 1 < FEWEST_MODELS - 1:
        return math.nan
    from scipy.stats import rankdata

    rest = []
    for values in (x, y):
        ranks = rankdata(np.asarray(values, dtype=np.float64))
        rest.append(ranks - (np.bincount(member, ranks) / np.bincount(member))[member])
    return math.nan if equal(rest[0]) or equal(rest[1]) else float(np.corrcoef(*rest)[0, 1])


def family_bootstrap(
    x: ArrayLike, y: ArrayLike, family: ArrayLike, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of ``spearman`` when whole families are drawn with replacement.

    Models of one family resemble each other and do not count as independent. Rough below some ten
    families; missing below three.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    names, member = np.unique(np.asarray(family), return_inverse=True)
    if len(names) < FEWEST_FAMILIES:
        return math.nan, math.nan
    members = [np.flatnonzero(member == k) for k in range(len(names))]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        rows = np.concatenate([members[k] for k in rng.integers(len(names), size=len(names))])
        found.append(spearman(x[rows], y[rows]))
    known = np.asarray(found)[np.isfinite(found)]
    if len(known) < draws / 2:
        return math.nan, math.nan
    low, high = np.quantile(known, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)
