"""Edge measures beside their null, and how near to edges the gradient lies."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting.panels import (
    CHARACTERS,
    curve,
    footnote,
    interval,
    legend,
    need_array,
    need_columns,
    new_figure,
    one_panel,
    record,
)
from gradlens.plotting.style import MUTED, enlarged, looks, points
from gradlens.runs.record import Run
from gradlens.stats.clusters import CLUSTER, cluster_of
from gradlens.stats.intervals import mean_interval

# Axis title, and the value that says nothing.
MEASURES = {
    "edge_partial_contour": ("partial correlation\nwith contours", 0.0),
    "edge_corr_contour": ("correlation\nwith contours", 0.0),
    "edge_auc_canny": ("AUC for\nCanny edges", 0.5),
    "edge_mass_canny": ("excess mass\non Canny edges", 0.0),
}
# Halves of a violin with what their columns end in, and where their means lie in it.
HALVES = {"own edges": ("", -0.12), "null: others' edges": ("_null", 0.12)}
NULL = "0.82"
# Inches of a model's row, at least so many rows, and of the axis below.
ROW, FEWEST, REST = 0.42, 2, 0.5
# Inches of a panel beside others.
NARROWEST = 0.9
NOTE = (
    "marks: means, of two images or more with 95 % intervals; short lines: quartiles; dotted: no relation; "
    "null: edges of other classes"
)


@figure
def edge_concentration(runs: Sequence[Run]) -> Figure:
    """The distribution over images of each edge measure (coloured, above) and of its null (gray, below), a row a model.

    The null is the same gradient against the edges of other images; only what lies to the right of
    it is concentration on the image's own edges. Every half is as high as the others at its peak.
    """
    need_columns(runs, [f"{m}{tail}" for m in MEASURES for tail in ("", "_null")], "edge_concentration")
    across = _across([run.label for run in runs])
    height = (ROW * max(FEWEST, len(runs)) + REST) * enlarged()
    drawn, axes = new_figure(len(MEASURES) // across, across, height=height, rest=0.5, sharey=True)
    for ax, column in zip(axes.flat, MEASURES, strict=True):
        draw_measure(ax, runs, column)
    halves = [Patch(color=color, lw=0, label=name) for name, color in zip(HALVES, (MUTED, NULL), strict=True)]
    drawn.legend(handles=halves, loc="outside upper center", ncols=2)
    footnote(drawn, NOTE, runs)
    return drawn


def _across(names: Sequence[str]) -> int:
    """Panels beside each other, with the runs' names on their left, of which each has about an inch."""
    room = mpl.rcParams["figure.figsize"][0] / enlarged() - max(map(len, names)) / CHARACTERS
    return 4 if room >= 4 * NARROWEST else 2 if room >= 2 * NARROWEST else 1


def draw_measure(ax: Axes, runs: Sequence[Run], column: str) -> None:
    """One measure, with a split violin for each run."""
    title, nothing = MEASURES[column]
    tables = [_table(run, column) for run in runs]
    if not any(map(len, tables)):
        raise UserError(f"no image has a finite {column}: too few edge pixels, or gradients vanished (gradient_flag)")
    ax.axvline(nothing, color=MUTED, lw=0.6, ls=":", zorder=0)
    for k, (look, run, table) in enumerate(zip(looks(runs), runs, tables, strict=True)):
        _violin(ax, table, [run.label for run in runs], look.color)
        for name, rows in table.groupby("edges", observed=True):
            series, offset, own = f"{run.label}, {name}", HALVES[str(name)][1], rows["value"]
            mean = mean_interval(own, cluster=cluster_of(rows))
            interval(ax, series, k + offset, mean, color="black", marker="o", ms=3, mfc="white", mew=0.8)
            record(ax, "quartiles", series, x=own.median(), low=own.quantile(0.25), high=own.quantile(0.75))
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", left=False)
    ax.locator_params(axis="x", nbins=3)
    ax.set_xlabel(title, fontsize=points(7))
    ax.set_ylabel("")


def _table(run: Run, column: str) -> pd.DataFrame:
    """The finite values of a measure and of its null, a row each."""
    values = {name: run.samples[column + tail].astype(float) for name, (tail, _) in HALVES.items()}
    own = {CLUSTER: run.samples[CLUSTER]} if CLUSTER in run.samples else {}
    table = pd.DataFrame({**values, **own}).melt(list(own), var_name="edges").assign(run=run.label)
    return table[np.isfinite(table["value"])]


def _violin(ax: Axes, table: pd.DataFrame, rows: Sequence[str], color: str) -> None:
    import seaborn as sns

    look = {
        "split": True,
        "inner": "quart",
        "cut": 0,
        "density_norm": "width",
        "linewidth": 0.6,
        "saturation": 1,
        "legend": False,
    }
    halves = {"hue": "edges", "hue_order": list(HALVES), "palette": [color, NULL]}
    sns.violinplot(table, x="value", y="run", order=rows, ax=ax, **halves, **look)


@figure
def edge_profile(runs: Sequence[Run], ax: Axes | None = None) -> Axes:
    """Share of |g| within a distance of the nearest Canny edge, beside the share of the area (dotted).

    No threshold on the gradient: a curve above the dotted one is closer to edges than the image is.
    Means over images.
    """
    shares, areas = (
        [need_array(run, f"edge_concentration/profile/{name}") for run in runs] for name in ("gradient", "area")
    )
    drawn, ax = one_panel(ax)
    for look, run, share in zip(looks(runs), runs, shares, strict=True):
        curve(ax, run.label, np.arange(len(share)), share, color=look.color, ls=look.style, marker=look.marker, ms=3.5)
    shared = all(np.array_equal(area, areas[0]) for area in areas)
    for look, run, area in zip(looks(runs), runs, areas[: 1 if shared else None], strict=False):
        color, label = (MUTED, "area") if shared else (look.color, f"area, {run.label}")
        curve(ax, label, np.arange(len(area)), area, color=color, ls=":")
    ax.set(xlabel="distance to the nearest edge (pixels)", ylabel="share within it", xlim=(-0.2, _reach(areas)))
    legend(drawn, ax)
    footnote(drawn, "means over images", runs)
    return ax


def _reach(areas: Sequence[np.ndarray]) -> float:
    """Where even the area has come within a hundredth of all of it."""
    return max(float(np.searchsorted(area, 0.99 * area[-1])) for area in areas) + 0.5
