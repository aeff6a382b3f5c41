"""What the figures of trainings share: trainings of one label are seeds, evaluated alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from gradlens.core.types import UserError
from gradlens.plotting.panels import curve
from gradlens.plotting.style import looks
from gradlens.runs.history import History
from gradlens.stats.intervals import mean_interval

CLEAN, ROBUST = "-", "--"
# Columns of the history, with a line style and what the line's name adds.
ACCURACIES = {"val_top1": (CLEAN, ""), "val_pgd10": (ROBUST, ", PGD-10")}
# What two trainings must share for their accuracies to mean the same.
EVALUATION = ("data", "val_split", "limit", "eval_eps", "eval_images")


def by_label(histories: Iterable[History]) -> dict[str, list[History]]:
    """What shares a label, in order: the seeds of one model."""
    groups: dict[str, list[History]] = {}
    for history in histories:
        groups.setdefault(history.label, []).append(history)
    return groups


def colored(histories: Sequence[History]) -> list[tuple[str, list[History]]]:
    """Each label's colour and its trainings."""
    groups = list(by_label(histories).values())
    return [(look.color, group) for look, group in zip(looks([group[0] for group in groups]), groups, strict=True)]


def over_seeds(x: ArrayLike, values: ArrayLike) -> NDArray[np.float64]:
    """Each distinct x, the mean of its values and its 95 % t-limits, ``(4, N)``; the limits of one seed are missing."""
    groups = pd.Series(np.asarray(values, np.float64)).groupby(np.asarray(x))
    return np.array([(place, *mean_interval(own)) for place, own in groups]).T


def percent_over_seeds(x: ArrayLike, shares: ArrayLike) -> NDArray[np.float64]:
    """``over_seeds`` of shares in percent, with limits that stay in its range."""
    places, *percent = over_seeds(x, 100 * np.asarray(shares))
    return np.array([places, *np.clip(percent, 0, 100)])


def draw_accuracies(ax: Axes, histories: Sequence[History]) -> list[Line2D]:
    """Accuracy on val after each epoch, and what a legend of it shows; refuses trainings evaluated otherwise."""
    check_same_evaluation(histories)
    handles = []
    for color, group in colored(histories):
        frame = pd.concat([history.frame for history in group])
        for column, (style, condition) in ACCURACIES.items():
            found = percent_over_seeds(frame["epoch"], frame[column])
            line = curve(ax, seeds_text(group) + condition, *found, color=color, ls=style)
            handles += [line] if style == CLEAN else []
    ax.set(xlabel="epoch", ylabel="accuracy on val (%)", ylim=(0, 102))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return handles + clean_and_robust(histories)


def seeds_text(group: Sequence[History]) -> str:
    """``natural (5 seeds)``, or the label of one."""
    return f"{group[0].label} ({len(group)} seeds)" if len(group) > 1 else group[0].label


def clean_and_robust(histories: Sequence[History]) -> list[Line2D]:
    """What the two line styles mean, for a legend: clean, and ``PGD-10, ε = 4/255``."""
    robust = f"PGD-10, ε = {histories[0].config.get('eval_eps', 'unknown')}"
    return [Line2D([], [], color="black", ls=ls, label=text) for ls, text in ((CLEAN, "clean"), (ROBUST, robust))]


def check_same_evaluation(histories: Sequence[History]) -> None:
    """Refuse trainings whose accuracies were measured on other images, or under another attack."""
    first = histories[0]
    for other in histories[1:]:
        for key in EVALUATION:
            a, b = (history.config.get(key) for history in (first, other))
            if a != b:
                names = f"{first.label} and {other.label}"
                raise UserError(f"{names} are not evaluated alike: {key} {a} against {b}; draw them apart")


def evaluated_on(histories: Sequence[History]) -> str:
    """On what the accuracies were measured, and what the bands are."""
    config = histories[0].config
    most = f"at most {config['eval_images']:,} images of " if config.get("eval_images") else ""
    bands = any(len(group) > 1 for group in by_label(histories).values())
    said = f"accuracy on {most}{config.get('data', 'unknown data')}/{config.get('val_split', 'val')}"
    return said + ("; bands: 95 % t-intervals of the mean over seeds" if bands else "; one seed each, so no intervals")
