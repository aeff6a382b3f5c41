from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting.panels import a_panel_each, curve, footnote, need_array, outer_labels, record
from gradlens.plotting.style import CHANNELS
from gradlens.runs.record import Run

BINS_A_POINT = 4


class Curves(NamedTuple):
    """Bin centres ``(N,)``, the density a decade of each channel ``(3, N)``, and the share of exact zeros."""

    centre: NDArray
    density: NDArray
    zeros: float


@figure
def channel_distribution(runs: Sequence[Run], ax: Axes | None = None) -> Figure | Axes:
    """The distribution over pixels of |g| in each colour channel, a panel a model.

    Curves are densities a decade, so their areas are one; short marks are the medians. Zeros are
    left out and counted. Source: Rodríguez-Muñoz et al. 2024, Fig. 7.
    """
    drawn, panels = a_panel_each(runs, ax, height=1.1)
    curves = [_curves(run) for run in runs]
    for panel, run, own in zip(panels, runs, curves, strict=True):
        _panel(panel, run, own)
    panels[0].set(**_limits(curves))
    outer_labels(panels, "|g| (nats per unit pixel)", "density a decade")
    if drawn:
        drawn.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, handlelength=2.6)
    else:
        panels[0].legend(loc="upper left", handlelength=2.6)
    zeros = ", ".join(f"{run.label} {own.zeros:.2g}" for run, own in zip(runs, curves, strict=True) if own.zeros)
    said = f"share of exact zeros, left out: {zeros}" if zeros else "no exact zeros"
    footnote(drawn, f"short marks: medians over all pixels; {said}", runs)
    return drawn or panels[0]


def _curves(run: Run) -> Curves:
    counts, edges, zeros = (
        need_array(run, f"channel_asymmetry/histogram/{name}") for name in ("counts", "edges", "zeros")
    )
    # The outermost hold what lies beyond the range.
    counts = counts[:, 1:-1]
    coarse = counts.reshape(len(counts), -1, BINS_A_POINT).sum(2)
    if not coarse.sum(1).all():
        raise UserError(
            f"run {run.label} has a channel without gradient within the histogram's range: the images are gray, or "
            "the gradients vanished (see gradient_flag)"
        )
    centre = np.sqrt(edges[:-BINS_A_POINT:BINS_A_POINT] * edges[BINS_A_POINT::BINS_A_POINT])
    a_decade = len(centre) / np.log10(edges[-1] / edges[0])
    share = float(zeros.sum() / (zeros.sum() + counts.sum()))
    return Curves(centre, coarse / coarse.sum(1, keepdims=True) * a_decade, share)


def _panel(ax: Axes, run: Run, own: Curves) -> None:
    for (name, (color, style)), density in zip(CHANNELS.items(), own.density, strict=True):
        curve(ax, name, own.centre, density, color=color, ls=style)
        median = _median(density, own.centre)
        ax.plot([median] * 2, [0, 0.06], color=color, transform=ax.get_xaxis_transform())
        record(ax, "interval", f"{name}, median", x=median)
    ax.set_title(run.label)


def _limits(curves: Sequence[Curves]) -> dict[str, object]:
    """A logarithmic axis over all that is seen, and the height of the highest curve."""
    seen = np.flatnonzero(sum(own.density.sum(0) for own in curves) > 1e-3)
    centre, highest = curves[0].centre, max(own.density.max() for own in curves)
    return {"xscale": "log", "xlim": (centre[seen[0]], centre[seen[-1]]), "ylim": (0, 1.08 * highest)}


def _median(weight: NDArray, centre: NDArray) -> float:
    return float(centre[np.searchsorted(weight.cumsum(), weight.sum() / 2)])
