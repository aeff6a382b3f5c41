from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from gradlens.core.registry import figure
from gradlens.plotting._trainings import draw_accuracies, evaluated_on
from gradlens.plotting.panels import footnote, one_panel
from gradlens.runs.history import History


@figure
def accuracy_over_epochs(histories: Sequence[History], ax: Axes | None = None) -> Axes:
    """Accuracy on val after each epoch, clean solid and under PGD-10 dashed, a colour a model.

    Trainings of one label are seeds: their mean, with its 95 % t-interval. Source: Rodríguez-Muñoz et al. 2024,
    Fig. 4.
    """
    own, ax = one_panel(ax)
    handles = draw_accuracies(ax, histories)
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5))
    footnote(own, evaluated_on(histories))
    return ax
