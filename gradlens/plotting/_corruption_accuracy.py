from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting.panels import footnote, is_wide, need_array, new_figure, record
from gradlens.plotting.style import enlarged
from gradlens.runs.record import Run

ANALYZER = "corruption_robustness"
# In inches: a row, and what stands above and below them, also where models' names are slanted.
HEIGHT, AROUND, SLANTED = 0.17, 0.7, 1.3
DIGITS = 5.5


@figure
def corruption_accuracy(runs: Sequence[Run]) -> Figure:
    """Accuracy under each corruption: of one model by severity, of several the mean over severities.

    A cell holds its percentage; dark is accurate. Source: Hendrycks & Dietterich 2019.
    """
    table = _by_severity(runs[0]) if len(runs) == 1 else _by_model(runs)
    slanted = len(runs) > 1 and not is_wide()
    around = (SLANTED if slanted else AROUND) * enlarged()
    drawn, axes = new_figure(1, 1, height=HEIGHT * len(table) * enlarged(), rest=around)
    ax = axes.ravel()[0]
    digits = {"annot": True, "fmt": ".0f", "annot_kws": {"size": DIGITS * enlarged()}}
    sns.heatmap(table, vmin=0, vmax=100, cmap="Blues", cbar=False, lw=0.5, ax=ax, **digits)
    for name, row in table.iterrows():
        record(ax, "text", f"{name}", x=np.arange(len(row)), y=row.to_numpy(), text=[f"{cell:.0f}" for cell in row])
    ax.set(title="accuracy (%)", xlabel=table.columns.name, ylabel="")
    ax.tick_params(length=0)
    if slanted:
        ax.set_xticks(ax.get_xticks(), table.columns, rotation=45, ha="right", rotation_mode="anchor")
    over = "" if len(runs) == 1 else "; means over severities"
    footnote(drawn, f"images corrupted as the model sees them{over}", runs)
    return drawn


def _by_severity(run: Run) -> pd.DataFrame:
    """Percent, ``(corruptions, severities)``."""
    accuracy = need_array(run, f"{ANALYZER}/accuracy")
    names = [str(name).replace("_", " ") for name in run.arrays[f"{ANALYZER}/corruptions"]]
    return pd.DataFrame(accuracy, names, pd.Index(run.arrays[f"{ANALYZER}/severities"], name="severity"))


def _by_model(runs: Sequence[Run]) -> pd.DataFrame:
    tables = [_by_severity(run) for run in runs]
    for run, table in zip(runs, tables, strict=True):
        if not (table.index.equals(tables[0].index) and table.columns.equals(tables[0].columns)):
            raise UserError(
                f"runs {runs[0].label} and {run.label} were corrupted in different ways; analyze them with the same "
                "corruptions= and severities="
            )
    means = pd.DataFrame({run.label: table.mean(axis=1) for run, table in zip(runs, tables, strict=True)})
    return means.rename_axis(columns="")
