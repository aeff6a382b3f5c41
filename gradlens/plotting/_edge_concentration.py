from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens._registry import figure
from gradlens._results import Run
from gradlens.plotting._panels import colors_of, footnote, need_columns, new_figure
from gradlens.plotting._style import MUTED

# Axis title, and the value that says nothing.
MEASURES = {
    "edge_partial_contour": ("partial correlation", 0.0),
    "edge_corr_contour": ("correlation with contour energy", 0.0),
    "edge_auc_canny": ("AUC for Canny edges", 0.5),
    "edge_mass_canny": ("excess mass on edges", 0.0),
}


@figure
def edge_concentration(runs: Sequence[Run]) -> Figure:
    """The distribution over images of each edge measure (filled) beside its null (dashed).

    The null is the same gradient against the edges of other images; only what lies to the right of
    it is concentration on the image's own edges.
    """
    need_columns(runs, [f"{m}{tail}" for m in MEASURES for tail in ("", "_null")], "edge_concentration")
    drawn, axes = new_figure(2, len(MEASURES) // 2)
    for ax, (column, (title, nothing)) in zip(axes.flat, MEASURES.items(), strict=True):
        values = [(_finite(run, column), _finite(run, f"{column}_null")) for run in runs]
        everything = np.concatenate([[nothing], *(v for pair in values for v in pair)])
        bins = np.linspace(everything.min(), everything.max() + 1e-9, 41)
        ax.axvline(nothing, color=MUTED, lw=0.6, ls=":")
        for color, run, (own, null) in zip(colors_of(runs), runs, values, strict=True):
            _stairs(ax, own, bins, color, run.label, filled=True)
            _stairs(ax, null, bins, color, f"{run.label}, null", filled=False)
        ax.set_xlabel(title)
        ax.set_ylim(bottom=0)
        ax.locator_params(axis="x", nbins=5)
    for ax in axes[:, 0]:
        ax.set_ylabel("share of images")
    drawn.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=min(4, 2 * len(runs)))
    images = ", ".join(f"{run.label} {len(run.samples):,}" for run in runs)
    footnote(drawn, f"images: {images}; null: the same gradients against the edges of other classes' images")
    return drawn


def _finite(run: Run, column: str) -> NDArray:
    values = run.samples[column].to_numpy(float)
    return values[np.isfinite(values)]


def _stairs(ax: Axes, values: NDArray, bins: NDArray, color: str, label: str, *, filled: bool) -> None:
    if not len(values):
        return
    share = np.histogram(values, bins)[0] / len(values)
    ax.stairs(share, bins, color=color, lw=1.2, ls="-" if filled else "--", label=label)
    if filled:
        ax.stairs(share, bins, color=color, alpha=0.15, fill=True, lw=0)
