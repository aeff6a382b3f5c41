"""Gradient size by what becomes of the images, and how well it tells them apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens.analyzers._base import Summary
from gradlens.analyzers._summaries import explained, in_group, merged
from gradlens.core.names import Name, with_limits
from gradlens.stats.intervals import mean_interval, quantile_interval
from gradlens.stats.separation import auc_gain, auc_interval, logistic_gain

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
    correct = samples["correct"].to_numpy(bool)
    yield Group("correct", correct, "correct")
    yield Group("wrong", ~correct, "wrong")
    for attack, withstood, known in _attacked(samples):
        for name, rows in (("robust", known & withstood), ("vulnerable", known & ~withstood)):
            yield Group(f"{name}{attack}", rows, name)
            yield Group(f"{name}_correct{attack}", rows & correct, f"{name} and correct")


def questions(samples: pd.DataFrame) -> Iterator[Question]:
    """Which images are wrong; under each attack which are vulnerable, of all and of the correct ones."""
    if "correct" not in samples:
        return
    correct = samples["correct"].to_numpy(bool)
    yield Question("wrong", ~correct, np.ones(len(samples), bool), "wrong")
    for attack, withstood, known in _attacked(samples):
        yield Question(f"vulnerable{attack}", ~withstood, known, "vulnerable")
        yield Question(f"vulnerable_correct{attack}", ~withstood, known & correct, "vulnerable")


def group_numbers(l1: NDArray, group: Group) -> Summary:
    """Mean and median with limits, and the number of images behind them."""
    values = l1[group.rows & np.isfinite(l1)]
    numbers = {
        **with_limits(in_group("l1_mean", group.name), mean_interval(values)),
        **with_limits(in_group("l1_median", group.name), quantile_interval(values)),
        in_group("l1_n", group.name): len(values),
    }
    few = f"only {len(values)} of the images are {group.words}" if len(values) else f"no image is {group.words}"
    return explained(numbers, few)


def separation_numbers(scores: Mapping[str, NDArray], question: Question) -> Summary:
    """AUCs of the loss and of the other scores, and what each of these adds to the loss."""
    known = {name: values[question.among] for name, values in scores.items()}
    parts = [_area(name, score, question) for name, score in known.items()]
    for name in (n for n in known if n != "loss"):
        parts += [_gain_in_area(name, known, question), _gain_in_fit(name, known, question)]
    return merged(parts)


def _area(name: str, score: NDArray, question: Question) -> Summary:
    area = auc_interval(score, question.positive[question.among])
    numbers = with_limits(in_group(f"{name}_auc", question.name), area)
    return explained(numbers, _why_not({name: score}, question, f"{name} separates the images perfectly"))


def _gain_in_area(name: str, scores: Mapping[str, NDArray], question: Question) -> Summary:
    compared = {n: scores[n] for n in (name, "loss")}
    gain = auc_gain(scores[name], scores["loss"], question.positive[question.among])
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
    known = np.logical_and.reduce([np.isfinite(v) for v in scores.values()])
    positive = question.positive[question.among][known]
    if not positive.any():
        return f"no image is {question.words}"
    if positive.all():
        return f"every image is {question.words}"
    constant = next((name for name, v in scores.items() if np.ptp(v[known]) == 0), None)
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
