from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting._gradient_norm_distribution import NORMS
from gradlens.plotting.panels import (
    a_panel_each,
    curve,
    few_ticks,
    footnote,
    mean_and_deviation,
    need_columns,
    outer_labels,
    record,
)
from gradlens.plotting.style import looks
from gradlens.plotting.style import points as points_of
from gradlens.runs.record import Run
from gradlens.stats.association import spearman_interval

# Bins along a side; images from which on bins show more than points; images in a tenth that has quartiles.
BINS, MANY, FEWEST = 48, 500, 10
TITLES = {"edge_corr_contour": "edge correlation", "edge_partial_contour": "partial edge correlation"}


@figure
def edge_gradient_correlation(
    runs: Sequence[Run], ax: Axes | None = None, column: str = "edge_corr_contour", size: str = "l1"
) -> Figure | Axes:
    """How closely each image's gradient follows its edges, against the gradient's size: a panel a model.

    Points are images; of many, gray is their number. Lines and bands: median and quartiles of tenths of the images by
    size. Titles give mean ± standard deviation of the edge measure, as the paper does, and Spearman's ρ of
    the two with its 95 % interval: at 0, images of large and of small gradients follow their edges alike.
    Source: Rodríguez-Muñoz et al. 2024, edge correlation.
    """
    need_columns(runs, [column], "edge_concentration")
    need_columns(runs, [size], "sample_asymmetry")
    drawn, panels = a_panel_each(runs, ax, height=1.7, rest=0.5)
    points = [_points(run, column, size) for run in runs]
    bins = _bins(points)
    for panel, run, look, own in zip(panels, runs, looks(runs), points, strict=True):
        _draw(panel, run, look.color, own, bins)
    few_ticks(panels[0])
    outer_labels(panels, f"{NORMS.get(size, size)} (nats per unit pixel)", TITLES.get(column, column))
    footnote(drawn, _note(points), runs)
    return drawn or panels[0]


def _note(points: Sequence[tuple[NDArray, NDArray]]) -> str:
    counts = [len(sizes) for sizes, _ in points]
    shown = ["points: images"] if min(counts) < MANY else []
    shown += ["gray: number of images (logarithmic)"] if max(counts) >= MANY else []
    shown += ["line, band: median, quartiles of tenths"] if max(counts) >= 10 * FEWEST else []
    return "; ".join([*shown, "ρ: Spearman's, 95 % interval"])


def _points(run: Run, column: str, size: str) -> tuple[NDArray, NDArray]:
    """Sizes and edge measures of the images that have both."""
    sizes, values = (run.samples[name].to_numpy(np.float64) for name in (size, column))
    known = np.isfinite(sizes) & (sizes > 0) & np.isfinite(values)
    if not known.any():
        raise UserError(f"no image of run {run.label} has a positive {size} and a {column}; see gradient_flag")
    return sizes[known], values[known]


def _bins(points: Sequence[tuple[NDArray, NDArray]]) -> tuple[NDArray, NDArray]:
    """Edges along the exponents of the sizes, since that axis is logarithmic, and along the measure."""
    x, y = (np.concatenate(values) for values in zip(*points, strict=True))
    # A mark at the rim is not to be cut.
    rims = ((v.min(), v.max(), max(0.04 * np.ptp(v), 0.02)) for v in (np.log10(x), y))
    return tuple(np.linspace(low - rim, high + rim, BINS + 1) for low, high, rim in rims)  # type: ignore


def _draw(ax: Axes, run: Run, color: str, points: tuple[NDArray, NDArray], bins: tuple[NDArray, NDArray]) -> None:
    import seaborn as sns

    sizes, values = points
    ax.set_xscale("log")
    if len(sizes) < MANY:
        sns.scatterplot(x=sizes, y=values, color=color, alpha=0.6, s=9, linewidth=0, ax=ax)
        record(ax, "scatter", run.label, x=sizes, y=values)
    else:
        most = np.histogram2d(np.log10(sizes), values, bins)[0].max()
        # Below 1, so that a single image is not as white as none.
        scale = {"norm": LogNorm(0.3, max(2, most)), "vmin": None, "vmax": None}
        sns.histplot(x=sizes, y=values, bins=bins, cmap="Greys", rasterized=True, ax=ax, **scale)
    tenths = [tenth for tenth in np.array_split(np.argsort(sizes, kind="stable"), 10) if len(tenth) >= FEWEST]
    if tenths:
        low, median, high = np.array([np.quantile(values[tenth], [0.25, 0.5, 0.75]) for tenth in tenths]).T
        middle = [np.median(sizes[tenth]) for tenth in tenths]
        curve(ax, f"{run.label}, median and quartiles", middle, median, low, high, color=color)
    title = _title(run, sizes, values)
    ax.set_title(title, fontsize=points_of(7))
    record(ax, "text", run.label, text=" ".join(title.split()))
    ax.set(xlim=(10 ** bins[0][0], 10 ** bins[0][-1]), ylim=(bins[1][0], bins[1][-1]))


def _title(run: Run, sizes: NDArray, values: NDArray) -> str:
    rho, low, high = spearman_interval(sizes, values)
    limits = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
    found = f"ρ = {rho:.2f}{limits}" if np.isfinite(rho) else "ρ is not defined"
    numbers = f"{mean_and_deviation(values, '{:.2f}'.format)}\n{found}"
    return f"{run.label}\n{numbers.replace('-', '−')}"
