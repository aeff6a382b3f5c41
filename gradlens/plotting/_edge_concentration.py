from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting._looks import Look, looks
from gradlens.plotting.panels import footnote, images_of, need_columns, new_figure
from gradlens.plotting.style import MUTED
from gradlens.runs.record import Run
from gradlens.stats.intervals import mean_interval

# Axis title, and the value that says nothing.
MEASURES = {
    "edge_partial_contour": ("partial correlation\nwith contours", 0.0),
    "edge_corr_contour": ("correlation\nwith contours", 0.0),
    "edge_auc_canny": ("AUC for\nCanny edges", 0.5),
    "edge_mass_canny": ("excess mass\non Canny edges", 0.0),
}
# Inches of a model's row where there are many, of all rows where there are few, and of axes and legend below.
ROW, ROWS, REST = 0.36, 1.1, 0.5
BINS = 60
NOTE = "marks: means with 95 % intervals, full of own edges, open of the null; dotted: the value that says nothing"


class Pair(NamedTuple):
    """A measure's finite values and those of its null, of one run."""

    own: NDArray
    null: NDArray


@figure
def edge_concentration(runs: Sequence[Run]) -> Figure:
    """The distribution over images of each edge measure (filled) and its null (dashed), a row a model.

    The null is the same gradient against the edges of other images; only what lies to the right of
    it is concentration on the image's own edges. Heights are shares of images, on one scale a measure.
    """
    need_columns(runs, [f"{m}{tail}" for m in MEASURES for tail in ("", "_null")], "edge_concentration")
    across = 4 if mpl.rcParams["figure.figsize"][0] >= 4.5 else 2
    blocks, models = len(MEASURES) // across, len(runs)
    height = max(ROW, ROWS / models) + REST / models
    drawn, axes = new_figure(blocks * models, across, height=height, rest=0.5)
    drawn.get_layout_engine().set(h_pad=0.01, hspace=0)  # type: ignore[union-attr, call-arg]
    for k, column in enumerate(MEASURES):
        top = models * (k // across)
        draw_measure(axes[top : top + models, k % across], runs, column)
    for row, ax in enumerate(axes[:, 0]):
        ax.set_ylabel(runs[row % models].label, rotation=0, ha="right", va="center")
    entries = [Patch(color=MUTED, alpha=0.3), Line2D([], [], color=MUTED, ls="--", lw=0.8)]
    drawn.legend(entries, ["own edges", "null: others' edges"], loc="outside upper center", ncols=2)
    footnote(drawn, f"{images_of(runs)}; {NOTE}; null: edges of images of other classes")
    return drawn


def draw_measure(axes: NDArray, runs: Sequence[Run], column: str) -> None:
    """One measure, in axes below each other that share their scales."""
    title, nothing = MEASURES[column]
    pairs = [Pair(_finite(run, column), _finite(run, f"{column}_null")) for run in runs]
    seen = np.concatenate([values for pair in pairs for values in pair])
    if not len(seen):
        raise UserError(f"no image has a finite {column}: too few edge pixels, or gradients vanished (gradient_flag)")
    bins = np.linspace(min(nothing, seen.min()), max(nothing, seen.max()) + 1e-9, BINS + 1)
    for ax, look, run, pair in zip(axes, looks(runs), runs, pairs, strict=True):
        ax.axvline(nothing, color=MUTED, lw=0.6, ls=":", zorder=0)
        _ridge(ax, bins, pair, look, run.label)
        if ax is not axes[0]:
            ax.sharex(axes[0])
            ax.sharey(axes[0])
        ax.spines["left"].set_visible(False)
        ax.tick_params(left=False, labelleft=False, labelbottom=ax is axes[-1], bottom=ax is axes[-1])
    top = max(patch.get_data().values.max() for ax in axes for patch in ax.patches)
    # Room below for the marks of the means.
    axes[0].set_ylim(-0.12 * top, 1.05 * top)
    axes[0].locator_params(axis="x", nbins=3)
    axes[-1].set_xlabel(title, fontsize=7)


def _ridge(ax: Axes, bins: NDArray, pair: Pair, look: Look, label: str) -> None:
    for values, dashed in ((pair.own, False), (pair.null, True)):
        if not len(values):
            continue
        share = np.histogram(values, bins)[0] / len(values)
        name = f"{label}, null" if dashed else label
        ax.stairs(share, bins, color=look.color, lw=0.9, ls="--" if dashed else "-", label=name)
        if not dashed:
            ax.stairs(share, bins, color=look.color, alpha=0.25, lw=0, fill=True)
        mean, low, high = mean_interval(values)
        ax.plot([low, high], [0, 0], color=look.color, lw=2, solid_capstyle="butt", label=f"{name}, 95 % interval")
        fill = "white" if dashed else look.color
        ax.plot(mean, 0, "o", ms=3, mfc=fill, mec=look.color, mew=0.8, label=f"{name}, mean", clip_on=False)


def _finite(run: Run, column: str) -> NDArray:
    values = run.samples[column].to_numpy(float)
    return values[np.isfinite(values)]
