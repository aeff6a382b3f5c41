from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting.panels import (
    MOST_IN_ONE,
    a_panel_each,
    few_ticks,
    footnote,
    need_columns,
    one_panel,
    outer_labels,
    record,
)
from gradlens.plotting.style import looks
from gradlens.runs.record import Run
from gradlens.stats.intervals import mean_interval

UNIT, SHARE = "(nats per unit pixel)", "images (peak = 1)"
NORMS = {"l1": "L1 norm", "l2": "L2 norm", "linf": "L∞ norm"}
# Of a few images as many bins as they fill; more than these would be finer than a printer.
MOST_BINS = 50


class Group(NamedTuple):
    """The images of one curve: their positive, finite values, and how many had none."""

    run: str
    part: str
    color: str
    style: str
    values: NDArray
    left_out: int

    @property
    def name(self) -> str:
        return f"{self.run}, {self.part}" if self.part else self.run

    @property
    def said(self) -> str:
        if not len(self.values):
            return "none"
        return f"{self.values.mean():.3g} ± {self.values.std():.3g}, n = {len(self.values):,}"


@figure
def gradient_norm_distribution(
    runs: Sequence[Run], ax: Axes | None = None, column: str = "l1", by: str = "all"
) -> Figure | Axes:
    """The distribution over images of the gradient's size, on a logarithmic axis, each curve's peak at 1.

    by ``correct`` draws correct (solid) and wrong images (dashed) apart. With each curve stand its mean ±
    standard deviation and number of images; more curves than four get a panel a model, before the others'
    in gray. Source: Rodríguez-Muñoz et al. 2024, Fig. 6.
    """
    if by not in ("all", "correct"):
        raise UserError(f"unknown grouping by '{by}'; there are: all, correct")
    need_columns(runs, [column, "correct"] if by == "correct" else [column], "sample_asymmetry")
    groups = _groups(runs, column, by)
    sizes = np.log10(np.concatenate([group.values for group in groups]))
    if not len(sizes):
        raise UserError(f"no image has a positive, finite {column}; the gradients vanished (see gradient_flag)")
    count = min(MOST_BINS, len(np.histogram_bin_edges(sizes, "auto")) - 1)
    decades = np.linspace(sizes.min() - 0.05, sizes.max() + 0.05, count + 1)
    norm = NORMS.get(column, column)
    if ax is None and len(groups) > MOST_IN_ONE:
        return _a_panel_a_run(runs, groups, decades, norm)
    drawn, ax = one_panel(ax, rest=0.13 * (len(groups) - 1))
    ax.set(xscale="log", xlabel=f"{norm} of the loss gradient {UNIT}", ylabel=SHARE)
    for group in groups:
        _outline(ax, group, decades, f"{group.name}: {group.said}")
    few_ticks(ax)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    footnote(drawn, _note(groups), runs)
    return ax


def _a_panel_a_run(runs: Sequence[Run], groups: Sequence[Group], decades: NDArray, norm: str) -> Figure | Axes:
    drawn, axes = a_panel_each(runs, height=1.1 + 0.1 * (len(groups) // len(runs)))
    axes[0].set_xscale("log")
    for ax, run in zip(axes, runs, strict=True):
        own = [group for group in groups if group.run == run.label]
        for other in (group for group in groups if group.run != run.label and len(group.values)):
            _histogram(ax, other, decades, color="0.8", lw=0.5, fill=False)
        for group in own:
            _outline(ax, group, decades, group.part)
        said = "\n".join(f"{group.part}: {group.said}".removeprefix(": ") for group in own)
        ax.set_title(run.label, pad=4 + 8 * len(own))
        ax.text(0.5, 1.03, said, transform=ax.transAxes, ha="center", va="bottom", fontsize=6.5)
    outer_labels(axes, f"{norm} {UNIT}", SHARE)
    styles = "; solid: correct, dashed: wrong" if any(group.part for group in groups) else ""
    footnote(drawn, f"gray: the other models{styles}; {_note(groups)}", runs)
    return drawn or axes[0]


def _groups(runs: Sequence[Run], column: str, by: str) -> list[Group]:
    groups = []
    for look, run in zip(looks(runs), runs, strict=True):
        parts: dict[str, tuple[str, pd.Series]] = {"": ("-", run.samples[column])}
        if by == "correct":
            right = run.samples["correct"].astype(bool)
            parts = {"correct": ("-", run.samples[column][right]), "wrong": ("--", run.samples[column][~right])}
        for part, (style, rows) in parts.items():
            values = rows.to_numpy(float)
            sound = values[np.isfinite(values) & (values > 0)]
            groups.append(Group(run.label, part, look.color, style, sound, len(values) - len(sound)))
    return groups


def _outline(ax: Axes, group: Group, decades: NDArray, label: str) -> None:
    if not len(group.values):
        ax.plot([], [], color=group.color, ls=group.style, label=label)
        return
    middles, heights = _histogram(ax, group, decades, color=group.color, ls=group.style, alpha=0.15, label=label)
    edges = 10**decades
    record(ax, "bin", group.name, x=middles, y=heights, low=edges[:-1], high=edges[1:])
    mean, low, high = mean_interval(group.values)
    ax.axvline(mean, color=group.color, ls=group.style, lw=0.6)
    if np.isfinite(low):
        # A limit of zero or less has no place on a logarithmic axis.
        low = max(low, edges[0])
        ax.axvspan(low, high, color=group.color, alpha=0.2, lw=0)
    record(ax, "interval", group.name, x=mean, low=low, high=high, text=group.said)


def _histogram(ax: Axes, group: Group, decades: NDArray, **look: object) -> tuple[NDArray, NDArray]:
    """Draw bins as shares of the fullest one; returns their middles and heights."""
    import seaborn as sns

    counts = np.histogram(np.log10(group.values), decades)[0]
    heights, middles = counts / counts.max(), 10 ** ((decades[1:] + decades[:-1]) / 2)
    # On an axis that is logarithmic already, seaborn takes exponents.
    bins = {"bins": len(counts), "binrange": (decades[0], decades[-1])}
    sns.histplot(x=middles, weights=heights, element="step", ax=ax, **bins, **look)
    return middles, heights


def _note(groups: Sequence[Group]) -> str:
    left_out = {f"{group.run} {group.part}".strip(): group.left_out for group in groups if group.left_out}
    gone = ", ".join(f"{name} {count:,}" for name, count in left_out.items())
    zeros = f"; images without a positive, finite gradient left out: {gone}" if gone else ""
    return f"mean ± standard deviation; upright lines: means with 95 % intervals{zeros}"
