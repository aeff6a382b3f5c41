from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting._accuracy_over_epochs import accuracy_over_epochs, colors_of_labels, column_of, evaluated_on
from gradlens.plotting._curves import banded_line, by_label, legend_columns, of_seeds, over_seeds, seeds_text
from gradlens.plotting.panels import footnote, new_figure
from gradlens.runs.history import History

# Columns of the history, and their axes.
PANELS = {"loss": "train loss (nats)", "weight": "penalty weight", "lr": "learning rate"}


@figure
@of_seeds
def learning_curves(histories: Sequence[History]) -> Figure:
    """Loss, clean and robust accuracy, weight of the penalty and learning rate after each epoch.

    Trainings of one label are seeds: their mean, with its 95 % t-interval.
    """
    drawn, axes = new_figure(2, 2, height=1.6, sharex=True)
    loss, accuracy, *rest = axes.flat
    accuracy_over_epochs(histories, accuracy)
    handles = accuracy.get_legend().legend_handles
    accuracy.get_legend().remove()
    for ax, (column, title) in zip((loss, *rest), PANELS.items(), strict=True):
        for color, group in zip(colors_of_labels(histories), by_label(histories).values(), strict=True):
            if column not in group[0].frame:
                raise UserError(f"the history of {group[0].label} has no column '{column}'; train again")
            epoch, values = column_of(group, column)
            banded_line(ax, epoch, over_seeds(values), color, label=seeds_text(group))
        ax.set(ylabel=title)
        ax.set_ylim(bottom=0)
        ax.ticklabel_format(axis="y", scilimits=(-2, 4), useMathText=True)
    accuracy.set(xlabel="", ylabel="val accuracy (%)")
    for ax in axes[1]:
        ax.set_xlabel("epoch")
    drawn.align_ylabels()
    drawn.legend(handles=handles, loc="outside upper center", ncols=legend_columns(len(handles)))
    footnote(drawn, evaluated_on(histories))
    return drawn
