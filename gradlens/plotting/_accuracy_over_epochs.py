from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting._curves import (
    CLEAN,
    ROBUST,
    banded_line,
    by_label,
    clean_and_robust,
    of_seeds,
    percent_over_seeds,
    seeds_text,
)
from gradlens.plotting._looks import looks
from gradlens.plotting.panels import footnote, one_panel
from gradlens.runs.history import History

# Columns of the history, with a line style and what the line's name adds.
ACCURACIES = {"val_top1": (CLEAN, ""), "val_pgd10": (ROBUST, ", PGD-10")}
# What two trainings must share for their accuracies to mean the same.
EVALUATION = ("data", "val_split", "limit", "eval_eps", "eval_images")


@figure
@of_seeds
def accuracy_over_epochs(histories: Sequence[History], ax: Axes | None = None) -> Axes:
    """Accuracy on val after each epoch, clean solid and under PGD-10 dashed, a colour a model.

    Trainings of one label are seeds: their mean, with its 95 % t-interval. Source: Rodríguez-Muñoz et al. 2024,
    Fig. 4.
    """
    check_same_evaluation(histories)
    own, ax = one_panel(ax)
    handles = []
    for color, group in zip(colors_of_labels(histories), by_label(histories).values(), strict=True):
        for column, (style, condition) in ACCURACIES.items():
            epoch, values = column_of(group, column)
            line = banded_line(ax, epoch, percent_over_seeds(values), color, style, seeds_text(group) + condition)
            handles += [line] if style == CLEAN else []
    ax.set(xlabel="epoch", ylabel="accuracy on val (%)", ylim=(0, 102))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles += clean_and_robust(robust_text(histories))
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5))
    footnote(own, evaluated_on(histories))
    return ax


def column_of(group: Sequence[History], column: str) -> tuple[NDArray, NDArray]:
    """Epochs ``(N,)`` and a column's values for each training ``(S, N)``, missing after one's last epoch."""
    longest = max((history.frame["epoch"] for history in group), key=len)
    values = [history.frame.set_index("epoch")[column].reindex(longest).to_numpy(np.float64) for history in group]
    return longest.to_numpy(), np.array(values)


def colors_of_labels(histories: Sequence[History]) -> list[str]:
    """A colour for each label."""
    return [look.color for look in looks([group[0] for group in by_label(histories).values()])]


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


def robust_text(histories: Sequence[History]) -> str:
    """``PGD-10, ε = 4/255``."""
    return f"PGD-10, ε = {histories[0].config.get('eval_eps', 'unknown')}"
