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
from gradlens.plotting.panels import colors_of, footnote, images_of, need_columns, outer_labels, small_multiples
from gradlens.runs.record import Run
from gradlens.stats.association import spearman_interval

BINS, FEWEST = 48, 10
NOTE = "gray: images, logarithmic; lines: median and quartiles of tenths of the images; ρ: Spearman's, 95 % interval"
TITLES = {"edge_corr_contour": "edge correlation", "edge_partial_contour": "partial edge correlation"}


@figure
def edge_gradient_correlation(
    runs: Sequence[Run], ax: Axes | None = None, column: str = "edge_corr_contour", size: str = "l1"
) -> Figure | Axes:
    """How closely each image's gradient follows its edges, against the gradient's size: a panel a model.

    Gray: number of images, logarithmic. Lines: median and (dotted) quartiles of tenths of the images by
    size. Titles give mean ± standard deviation of the edge measure, as the paper does, and Spearman's ρ of
    the two with its 95 % interval: at 0, images of large and of small gradients follow their edges alike.
    Source: Rodríguez-Muñoz et al. 2024, edge correlation.
    """
    if ax is not None and len(runs) > 1:
        raise UserError(f"edge_gradient_correlation draws a panel a model; {len(runs)} runs do not fit into one ax")
    need_columns(runs, [column], "edge_concentration")
    need_columns(runs, [size], "sample_asymmetry")
    points = [_points(run, column, size) for run in runs]
    bins = _bins(points)
    labels = f"{NORMS.get(size, size)} (nats per unit pixel)", TITLES.get(column, column)
    if ax is not None:
        _draw(ax, runs[0], points[0], bins)
        ax.set(xlabel=labels[0], ylabel=labels[1])
        return ax
    drawn, panels = small_multiples(len(runs), height=1.7, rest=0.5)
    for panel, run, own in zip(panels, runs, points, strict=True):
        _draw(panel, run, own, bins)
    outer_labels(panels, *labels)
    footnote(drawn, f"{images_of(runs)}; {NOTE}")
    return drawn


def _points(run: Run, column: str, size: str) -> tuple[NDArray, NDArray]:
    """Sizes and edge measures of the images that have both."""
    sizes, values = (run.samples[name].to_numpy(np.float64) for name in (size, column))
    known = np.isfinite(sizes) & (sizes > 0) & np.isfinite(values)
    if not known.any():
        raise UserError(f"no image of run {run.label} has a positive {size} and a {column}; see gradient_flag")
    return sizes[known], values[known]


def _bins(points: Sequence[tuple[NDArray, NDArray]]) -> tuple[NDArray, NDArray]:
    x, y = (np.concatenate(values) for values in zip(*points, strict=True))
    return np.geomspace(x.min(), x.max() * (1 + 1e-9), BINS + 1), np.linspace(y.min(), y.max() + 1e-9, BINS + 1)


def _draw(ax: Axes, run: Run, points: tuple[NDArray, NDArray], bins: tuple[NDArray, NDArray]) -> None:
    (sizes, values), color = points, colors_of([run])[0]
    counts, *_ = np.histogram2d(sizes, values, bins)
    # Below 1, so that a single image is not as white as none.
    scale = LogNorm(0.3, max(2, counts.max()))
    ax.pcolormesh(*bins, np.ma.masked_equal(counts.T, 0), norm=scale, cmap="Greys", rasterized=True)
    tenths = [tenth for tenth in np.array_split(np.argsort(sizes, kind="stable"), 10) if len(tenth) >= FEWEST]
    if tenths:
        middle = [np.median(sizes[tenth]) for tenth in tenths]
        quartiles = np.array([np.quantile(values[tenth], [0.25, 0.5, 0.75]) for tenth in tenths]).T
        for curve, name in zip(quartiles, ("lower quartile", "median", "upper quartile"), strict=True):
            width, style = (1.2, "-") if name == "median" else (0.8, ":")
            ax.plot(middle, curve, color=color, lw=width, ls=style, label=f"{run.label}, {name}")
    ax.set_title(_title(run, sizes, values), fontsize=7)
    ax.set(xscale="log", xlim=(bins[0][0], bins[0][-1]), ylim=(bins[1][0], bins[1][-1]))


def _title(run: Run, sizes: NDArray, values: NDArray) -> str:
    rho, low, high = spearman_interval(sizes, values)
    limits = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
    numbers = f"{values.mean():.2f} ± {values.std():.2f}, n = {len(values):,}\nρ = {rho:.2f}{limits}"
    return f"{run.label}\n{numbers.replace('-', '−')}"
