from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from gradlens._registry import figure
from gradlens._results import Run
from gradlens._types import UserError
from gradlens.plotting._panels import colors_of, need_columns, new_figure


@figure
def gradient_norm_distribution(
    runs: Sequence[Run], ax: Axes | None = None, column: str = "l1", by: str = "all"
) -> Axes:
    """The distribution over images of the gradient's size, on a logarithmic axis, each curve's peak at 1.

    by ``correct`` draws correct (solid) and wrong images (dashed) apart. The legend gives mean ±
    standard deviation and the number of images. Source: Rodríguez-Muñoz et al. 2024, Fig. 6.
    """
    if by not in ("all", "correct"):
        raise UserError(f"unknown grouping by '{by}'; there are: all, correct")
    need_columns(runs, [column, "correct"] if by == "correct" else [column], "sample_asymmetry")
    ax = ax or new_figure(1, 1)[1][0, 0]
    groups = _groups(runs, column, by)
    finite = np.concatenate([group[3] for group in groups])
    if not len(finite):
        raise UserError(f"no image has a positive, finite {column}; the gradients vanished (see gradient_flag)")
    bins = np.logspace(np.log10(finite.min()) - 0.05, np.log10(finite.max()) + 0.05, 51)
    for label, color, style, values in groups:
        _outline(ax, values, bins, label, color, style)
    norm = {"l1": "L1 norm", "l2": "L2 norm", "linf": "L∞ norm"}.get(column, column)
    ax.set(xscale="log", xlabel=f"{norm} of the loss gradient (nats per unit pixel)", ylabel="images (peak = 1)")
    ax.set_ylim(bottom=0)
    ax.legend(
        loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0, title="mean ± standard deviation", alignment="left"
    )
    return ax


def _groups(runs: Sequence[Run], column: str, by: str) -> list[tuple[str, str, str, NDArray]]:
    """Label, colour, line style and positive finite values of each curve."""
    groups = []
    for color, run in zip(colors_of(runs), runs, strict=True):
        parts = {"": ("-", run.samples)}
        if by == "correct":
            right = run.samples["correct"]
            parts = {", correct": ("-", run.samples[right]), ", wrong": ("--", run.samples[~right])}
        for name, (style, rows) in parts.items():
            values = rows[column].to_numpy(float)
            groups.append((run.label + name, color, style, values[np.isfinite(values) & (values > 0)]))
    return groups


def _outline(ax: Axes, values: NDArray, bins: NDArray, label: str, color: str, style: str) -> None:
    if not len(values):
        ax.plot([], [], color=color, ls=style, label=f"{label}: none")
        return
    share = np.histogram(values, bins)[0].astype(float)
    share /= share.max()
    text = f"{label}: {values.mean():.3g} ± {values.std():.3g}, n = {len(values):,}"
    ax.stairs(share, bins, color=color, ls=style, lw=1.2, label=text)
    ax.stairs(share, bins, color=color, alpha=0.15, fill=True, lw=0)
    ax.axvline(values.mean(), color=color, ls=style, lw=0.6)
