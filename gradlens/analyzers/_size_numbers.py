"""What gradient size says of a whole run: its spread, its tail, its groups, and what it tells beyond the loss."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens.analyzers._base import Summary, explained, in_group, merged
from gradlens.core.names import Name, with_limits
from gradlens.runs.record import right_and_wrong
from gradlens.stats.clusters import Cluster
from gradlens.stats.intervals import (
    LOG,
    LOGIT,
    MISSING,
    Statistic,
    bootstrap_limits,
    finite,
    mean_interval,
    quantile_interval,
    quantile_ratio_interval,
)
from gradlens.stats.separation import auc_gain, auc_interval, logistic_gain
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

UNLABELLED = "the images have no labels"


class Group(NamedTuple):
    """Some of a run's images; ``words`` describe them."""

    name: str
    rows: NDArray[np.bool_]
    words: str


class Question(NamedTuple):
    """Which of some images are the ones that a score should tell; ``words`` describe those."""

    name: str
    positive: NDArray[np.bool_]
    among: NDArray[np.bool_]
    words: str


def groups(samples: pd.DataFrame) -> Iterator[Group]:
    """All images, the correct and the wrong; under each attack the robust, the vulnerable, the correct of either."""
    yield Group("", np.ones(len(samples), bool), "measured")
    if "correct" not in samples:
        return
    correct, wrong = right_and_wrong(samples)
    yield Group("correct", correct, "correct")
    yield Group("wrong", wrong, "wrong")
    for attack, withstood, known in _attacked(samples):
        for name, rows in (("robust", known & withstood), ("vulnerable", known & ~withstood)):
            yield Group(f"{name}{attack}", rows, name)
            yield Group(f"{name}_correct{attack}", rows & correct, f"{name} and correct")


def questions(samples: pd.DataFrame) -> Iterator[Question]:
    """Which images are wrong; under each attack which are vulnerable, of all and of the correct ones."""
    if "correct" not in samples:
        return
    correct, wrong = right_and_wrong(samples)
    yield Question("wrong", wrong, correct | wrong, "wrong")
    for attack, withstood, known in _attacked(samples):
        yield Question(f"vulnerable{attack}", ~withstood, known, "vulnerable")
        yield Question(f"vulnerable_correct{attack}", ~withstood, known & correct, "vulnerable")


def group_numbers(l1: NDArray, group: Group, cluster: Cluster = None) -> Summary:
    """Mean and median with limits, and the number of images behind them."""
    values, own = finite(np.where(group.rows, l1, np.nan), cluster)
    numbers = {
        **with_limits(in_group("l1_mean", group.name), mean_interval(values, cluster=own)),
        **with_limits(in_group("l1_median", group.name), quantile_interval(values, cluster=own)),
        in_group("l1_n", group.name): len(values),
    }
    few = f"only {len(values)} of the images are {group.words}" if len(values) else f"no image is {group.words}"
    return explained(numbers, few)


def separation_numbers(scores: Mapping[str, NDArray], question: Question, cluster: Cluster = None) -> Summary:
    """AUCs of the loss and of the other scores, and what each of these adds to the loss."""
    among = {name: values[question.among] for name, values in scores.items()}
    own = None if cluster is None else np.asarray(cluster)[question.among]
    parts = [_area(name, score, question, own) for name, score in among.items()]
    for name in (n for n in among if n != "loss"):
        parts += [_gain_in_area(name, among, question, own), _gain_in_fit(name, among, question)]
    return merged(parts)


def _area(name: str, score: NDArray, question: Question, cluster: Cluster) -> Summary:
    area = auc_interval(score, question.positive[question.among], cluster=cluster)
    numbers = with_limits(in_group(f"{name}_auc", question.name), area)
    return explained(numbers, _why_not({name: score}, question, f"{name} separates the images perfectly"))


def _gain_in_area(name: str, scores: Mapping[str, NDArray], question: Question, cluster: Cluster) -> Summary:
    compared = {n: scores[n] for n in (name, "loss")}
    gain = auc_gain(scores[name], scores["loss"], question.positive[question.among], cluster=cluster)
    key = Name.parse(in_group(f"{name}_auc_gain", question.name))
    numbers = {**with_limits(str(key), gain[:3]), str(key.ending("p")): gain[3]}
    return explained(numbers, _why_not(compared, question, f"the loss and {name} rank the images alike"))


def _gain_in_fit(name: str, scores: Mapping[str, NDArray], question: Question) -> Summary:
    """Beyond both shapes of the loss, or size that is only error mass would seem to add to the loss."""
    logs = {"loss": _log(scores["loss"]), "error mass": _log(-np.expm1(-scores["loss"])), name: _log(scores[name])}
    *known, score = logs.values()
    gain = logistic_gain(score, known, question.positive[question.among])
    numbers = {in_group(f"{name}_r2_gain", question.name): gain}
    perfect = f"the loss and {name} together separate the images perfectly"
    return explained(numbers, _why_not(logs, question, perfect))


def _log(values: NDArray) -> NDArray:
    """Logarithms; missing for what is not above zero."""
    return np.log(values, where=values > 0, out=np.full(len(values), np.nan))


def _why_not(scores: Mapping[str, NDArray], question: Question, otherwise: str) -> str:
    """Why these scores tell nothing; ``otherwise`` where neither they nor the groups are to blame."""
    whole = np.logical_and.reduce([np.isfinite(v) for v in scores.values()])
    positive = question.positive[question.among][whole]
    if not positive.any():
        return f"no image is {question.words}"
    if positive.all():
        return f"every image is {question.words}"
    constant = next((name for name, v in scores.items() if np.ptp(v[whole]) == 0), None)
    if constant:
        return f"every image has the same {constant}"
    if min(positive.sum(), (~positive).sum()) == 1:
        return f"only one image is {'' if positive.sum() == 1 else 'not '}{question.words}"
    return otherwise


def _attacked(samples: pd.DataFrame) -> Iterator[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Each attack's parameters, which images withstood it, and of which that is known."""
    for column in (c for c in samples if c.startswith("robust[")):
        flag = samples[column].to_numpy(np.float64)
        if np.isfinite(flag).any():
            yield column.removeprefix("robust"), flag == 1, np.isfinite(flag)


FIXED_SIZE = 200
SPREAD = {
    "l1_gini": (gini, Statistic(gini_estimate, LOGIT)),
    "l1_cv": (coefficient_of_variation, Statistic(variation_estimate, LOG)),
    "l1_top_share": (top_share, Statistic(top_share_estimate, LOGIT)),
    "l1_log_sd": (log_deviation, Statistic(log_deviation_estimate, LOG)),
}
DEPEND_ON_SIZE = ("l1_gini", "l1_cv", "l1_top_share")


def tail_numbers(l1: NDArray, cluster: Cluster = None) -> Summary:
    """Of the finite norms: inequality with limits and at 200 images, quantile ratios, Hill's index."""
    ratios = {f"l1_q{p}_ratio": quantile_ratio_interval(l1, p / 100, cluster=cluster) for p in (90, 99)}
    return merged(
        [
            _spread(l1, cluster),
            _spread_at_fixed_size(l1),
            *(explained(with_limits(name, ratio), _why_no_ratio(l1)) for name, ratio in ratios.items()),
            explained(with_limits("l1_tail_index", tail_index(l1, cluster=cluster)), _why_no_tail(l1)),
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


def _spread(l1: NDArray, cluster: Cluster) -> Summary:
    points = {name: measure(l1) for name, (measure, _) in SPREAD.items()}
    shown = {name: s for name, (_, s) in SPREAD.items() if math.isfinite(points[name])}
    limits = bootstrap_limits(l1, shown, cluster=cluster)
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
