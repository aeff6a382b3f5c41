"""Trainings over their epochs: loss and penalty, and accuracy with and without an attack."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting._trainings import colored, draw_accuracies, evaluated_on, over_seeds, seeds_text
from gradlens.plotting.panels import curve, footnote, legend, legend_above, new_figure, one_panel
from gradlens.runs.history import History

# Columns of the history, and their axes.
PANELS = {"loss": "train loss (nats)", "weight": "penalty weight", "lr": "learning rate"}


@figure
def learning_curves(histories: Sequence[History]) -> Figure:
    """Loss, clean and robust accuracy, weight of the penalty and learning rate after each epoch.

    Trainings of one label are seeds: their mean, with its 95 % t-interval.
    """
    drawn, axes = new_figure(2, 2, height=1.6, sharex=True)
    loss, accuracy, *rest = axes.flat
    handles = draw_accuracies(accuracy, histories)
    for ax, (column, title) in zip((loss, *rest), PANELS.items(), strict=True):
        for color, group in colored(histories):
            absent = next((history.label for history in group if column not in history.frame), None)
            if absent:
                raise UserError(f"the history of {absent} has no column '{column}'; train again")
            frame = pd.concat([history.frame for history in group])
            curve(ax, seeds_text(group), *over_seeds(frame["epoch"], frame[column]), color=color)
        ax.set(ylabel=title)
        ax.set_ylim(bottom=0)
        ax.ticklabel_format(axis="y", scilimits=(-2, 4), useMathText=True)
    accuracy.set(xlabel="", ylabel="val accuracy (%)")
    for ax in axes[1]:
        ax.set_xlabel("epoch")
    drawn.align_ylabels()
    legend_above(drawn, handles)
    footnote(drawn, evaluated_on(histories))
    return drawn


@figure
def accuracy_over_epochs(histories: Sequence[History], ax: Axes | None = None) -> Axes:
    """Accuracy on val after each epoch, clean solid and under PGD-10 dashed, a colour a model.

    Trainings of one label are seeds: their mean, with its 95 % t-interval. Source: Rodríguez-Muñoz et al. 2024,
    Fig. 4.
    """
    own, ax = one_panel(ax)
    handles = draw_accuracies(ax, histories)
    legend(own, ax, handles)
    footnote(own, evaluated_on(histories))
    return ax
