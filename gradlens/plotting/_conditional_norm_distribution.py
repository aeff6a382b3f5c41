from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.plotting._gradient_norm_distribution import (
    NORMS,
    SHARE,
    UNIT,
    Group,
    draw_groups,
    groups_of,
    note_of,
    scale_of,
)
from gradlens.plotting.panels import MOST_IN_ONE, fitted, footnote, is_wide, legend_above, need_columns, new_figure
from gradlens.plotting.style import enlarged, looks, points
from gradlens.runs.record import Run

CONDITIONS = {"all images": None, "correct": "correct", "wrong": "not correct"}
# Height of a line of numbers above a panel, in points and in inches.
LINE, INCHES = 8, 0.12


@figure
def conditional_norm_distribution(runs: Sequence[Run], column: str = "l1") -> Figure:
    """The distribution of the gradient's size over all images, the correct and the wrong ones, a panel each.

    The panels stand below each other in a narrow column; more models than four get a row of their own.
    Source: Rodríguez-Muñoz et al. 2024, Fig. 6.
    """
    need_columns(runs, [column, "correct"], "sample_asymmetry")
    conditions = [groups_of([run.select(where) for run in runs], column, "all") for where in CONDITIONS.values()]
    groups = [group for condition in conditions for group in condition]
    scale, apart = scale_of(groups, column), len(runs) > MOST_IN_ONE
    lines = 2 if apart and not is_wide() else 1 if apart else len(runs)
    drawn, axes = _axes(len(runs) if apart else 0, lines)
    # A row a model and a column a condition; of few models a panel a condition.
    cells = [[group] for row in zip(*conditions, strict=True) for group in row] if apart else conditions
    for k, (ax, cell) in enumerate(zip(axes.flat, cells, strict=True)):
        draw_groups(ax, cell, scale)
        _numbers(ax, cell, broken=lines == 2 and apart)
        if k < len(CONDITIONS):
            ax.set_title(list(CONDITIONS)[k], pad=4 + LINE * lines * enlarged())
        if apart and k % len(CONDITIONS) == 0:
            ax.set_ylabel(runs[k // len(CONDITIONS)].label)
    if not apart:
        axes[len(axes) // 2, 0].set_ylabel(SHARE)
    axes[-1, axes.shape[1] // 2].set_xlabel(
        fitted(f"{NORMS.get(column, column)} of the loss gradient {UNIT}", drawn.get_figwidth() - 0.2)
    )
    if not apart:
        shown = zip(runs, looks(runs), strict=True)
        legend_above(drawn, [Line2D([], [], color=look.color, label=run.label) for run, look in shown])
    footnote(drawn, note_of(conditions[0], scale), runs)
    return drawn


def _axes(models: int, lines: int) -> tuple[Figure, NDArray]:
    """A row a model where they stand apart; else a row of panels, or in a narrow column one below the other."""
    wide, count = is_wide(), len(CONDITIONS)
    rows, columns = (models, count) if models else (1, count) if wide else (count, 1)
    height = (1.6 if wide and not models else 1.0) + INCHES * lines * enlarged()
    return new_figure(rows, columns, height=height, rest=0.4, sharex=True, sharey=True)


def _numbers(ax: Axes, groups: Sequence[Group], broken: bool) -> None:
    """Above a panel only the numbers, since the names are the same in every one."""
    if not any(len(group.values) for group in groups):
        ax.text(0.5, 0.5, "no image", transform=ax.transAxes, ha="center", fontsize=points(6.5))
        return
    said = [group.said.replace(", n", "\nn") if broken else group.said for group in groups]
    handles = [Line2D([], [], color=group.color) for group in groups]
    look = {"labelspacing": 0.2, "borderpad": 0.1, "borderaxespad": 0.1, "handlelength": 1}
    ax.legend(handles, said, loc="lower left", bbox_to_anchor=(0, 1), fontsize=points(6), **look)
