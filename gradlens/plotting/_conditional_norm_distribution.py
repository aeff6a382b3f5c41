from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradlens.core.registry import figure
from gradlens.plotting._gradient_norm_distribution import NORMS, gradient_norm_distribution
from gradlens.plotting.panels import MOST_IN_ONE, footnote, legend_columns, need_columns, new_figure
from gradlens.runs.record import Run

CONDITIONS = {"all images": None, "correct": "correct", "wrong": "not correct"}
# From this width on, in inches, numbers stand on one line.
WIDE = 4.5
# Height of a line of numbers above a panel, in points.
LINE = 8
NOTE = "mean ± standard deviation; upright lines: means with 95 % intervals; peaks at 1"


@figure
def conditional_norm_distribution(runs: Sequence[Run], column: str = "l1") -> Figure:
    """The distribution of the gradient's size over all images, the correct and the wrong ones, a panel each.

    More models than four get a row of their own. Source: Rodríguez-Muñoz et al. 2024, Fig. 6.
    """
    need_columns(runs, [column, "correct"], "sample_asymmetry")
    apart, wide = len(runs) > MOST_IN_ONE, mpl.rcParams["figure.figsize"][0] >= WIDE
    rows = [[run] for run in runs] if apart else [list(runs)]
    height = 0.85 if apart else 1.7 + (0.12 if wide else 0.3) * len(runs)
    drawn, axes = new_figure(len(rows), len(CONDITIONS), height=height, sharex=True, sharey=True)
    entries: dict[str, Artist] = {}
    for row, group in zip(axes, rows, strict=True):
        for ax, where in zip(row, CONDITIONS.values(), strict=True):
            entries |= _panel(ax, [run.select(where) for run in group], column)
        row[0].set_ylabel(group[0].label if apart else "images (peak = 1)")
    for ax, name in zip(axes[0], CONDITIONS, strict=True):
        ax.set_title(name, pad=4 + LINE * len(rows[0]) * (1 if wide else 2))
    axes[-1, 1].set_xlabel(f"{NORMS.get(column, column)} of the loss gradient (nats per unit pixel)")
    if not apart:
        drawn.legend(entries.values(), entries, loc="outside upper center", ncols=legend_columns(len(entries)))
    footnote(drawn, NOTE, runs)
    return drawn


def _panel(ax: Axes, runs: Sequence[Run], column: str) -> dict[str, Artist]:
    """One condition; above it only the numbers, since the names are the same in every panel."""
    if not any(len(run.samples) for run in runs):
        ax.text(0.5, 0.5, "no image", transform=ax.transAxes, ha="center", fontsize=6.5)
        return {}
    gradient_norm_distribution(runs, ax, column)
    handles, labels = ax.get_legend_handles_labels()
    said = [label.removeprefix(f"{run.label}: ") for run, label in zip(runs, labels, strict=True)]
    if mpl.rcParams["figure.figsize"][0] < WIDE:
        said = [text.replace(", n", "\nn") for text in said]
    legend = ax.legend(handles, said, fontsize=6, labelspacing=0.2, borderpad=0.1, borderaxespad=0.1, handlelength=1)
    legend.set_loc("lower left")
    legend.set_bbox_to_anchor((0, 1))
    ax.set(xlabel="", ylabel="")
    return dict(zip((run.label for run in runs), handles, strict=True))
