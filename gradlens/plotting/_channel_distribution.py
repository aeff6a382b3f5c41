from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens._registry import figure
from gradlens._results import Run
from gradlens._types import UserError
from gradlens.plotting._panels import footnote, need_array, new_figure
from gradlens.plotting._style import CHANNELS

BINS_A_POINT = 4


@figure
def channel_distribution(runs: Sequence[Run], ax: Axes | None = None) -> Figure:
    """The distribution over pixels of |g| in each colour channel, a panel a model.

    Curves are densities a decade, so their areas are one; short marks are the medians. Zeros are
    left out and counted. Source: Rodríguez-Muñoz et al. 2024, Fig. 7.
    """
    if ax is not None and len(runs) > 1:
        raise UserError(f"channel_distribution draws a panel a model; {len(runs)} runs do not fit into one ax")
    panels = np.array([ax]) if ax is not None else new_figure(1, len(runs), sharex=True, sharey=True)[1][0]
    curves = [_densities(run) for run in runs]
    for panel, run, (centre, density, _) in zip(panels, runs, curves, strict=True):
        _panel(panel, run, centre, density)
    seen = np.flatnonzero(sum(density.sum(0) for _, density, _ in curves) > 1e-3)
    panels[0].set(
        xscale="log",
        xlim=(curves[0][0][seen[0]], curves[0][0][seen[-1]]),
        ylim=(0, 1.08 * max(density.max() for _, density, _ in curves)),
        ylabel="density a decade",
    )
    panels[0].legend(loc="upper left", handlelength=2.6)
    zeros = ", ".join(f"{run.label} {zero:.1%}" for run, (*_, zero) in zip(runs, curves, strict=True))
    footnote(panels[0].figure, f"exact zeros left out: {zeros}")
    return panels[0].figure


def _densities(run: Run) -> tuple[NDArray, NDArray, float]:
    """Bin centres, the density a decade of each channel, and the share of exact zeros."""
    counts = need_array(run, "channel_asymmetry/histogram/counts", "channel_asymmetry")[:, 1:-1]
    edges = need_array(run, "channel_asymmetry/histogram/edges", "channel_asymmetry")
    zeros = need_array(run, "channel_asymmetry/histogram/zeros", "channel_asymmetry")
    coarse = counts.reshape(len(counts), -1, BINS_A_POINT).sum(2)
    if not coarse.sum(1).all():
        raise UserError(f"run {run.label} has no gradient within the histogram's range; see gradient_flag")
    centre = np.sqrt(edges[:-BINS_A_POINT:BINS_A_POINT] * edges[BINS_A_POINT::BINS_A_POINT])
    a_decade = len(centre) / np.log10(edges[-1] / edges[0])
    return centre, coarse / coarse.sum(1, keepdims=True) * a_decade, float(zeros.sum() / (zeros.sum() + counts.sum()))


def _panel(ax: Axes, run: Run, centre: NDArray, densities: NDArray) -> None:
    for (name, (color, style)), density in zip(CHANNELS.items(), densities, strict=True):
        ax.plot(centre, density, color=color, ls=style, label=name)
        ax.plot([_median(density, centre)] * 2, [0, 0.05], color=color, transform=ax.get_xaxis_transform())
    ax.set(xlabel="|g| (nats per unit pixel)", title=run.label)


def _median(weight: NDArray, centre: NDArray) -> float:
    return float(centre[np.searchsorted(weight.cumsum(), weight.sum() / 2)])
