from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting.panels import (
    CHARACTERS,
    MOST_IN_ONE,
    a_panel_each,
    cell_width,
    curve,
    few_ticks,
    fitted,
    footnote,
    interval,
    mean_and_deviation,
    need_columns,
    one_panel,
    outer_labels,
    record,
)
from gradlens.plotting.style import enlarged, looks, points
from gradlens.runs.record import Run, right_and_wrong
from gradlens.stats.clusters import Cluster, cluster_of
from gradlens.stats.intervals import Interval, mean_interval

UNIT, SHARE = "(nats per unit pixel)", "images (peak = 1)"
NORMS = {"l1": "L1 norm", "l2": "L2 norm", "linf": "L∞ norm"}
# More bins than these would be finer than a printer; of fewer images than these, bins show single ones as teeth.
MOST_BINS, FEW = 50, 100
# Images from which on their density is one, and the points that it is drawn at.
DENSE, POINTS = 3, 200
# Heights of a row of means above the peaks and of a row of images below the axis.
ABOVE, BELOW = 0.1, 0.07


class Group(NamedTuple):
    """The images of one curve: their positive, finite values, and how many had none."""

    run: str
    part: str
    color: str
    style: str
    values: NDArray
    left_out: int
    cluster: Cluster = None

    @property
    def name(self) -> str:
        return f"{self.run}, {self.part}" if self.part else self.run

    @property
    def said(self) -> str:
        return mean_and_deviation(self.values) if len(self.values) else "none"

    @property
    def mean(self) -> Interval:
        """With its limits, where the lower one has a place on a logarithmic axis."""
        mean, low, high = mean_interval(self.values, cluster=self.cluster)
        return (mean, low, high) if low > 0 else (mean, np.nan, np.nan)


class Scale(NamedTuple):
    """The exponents that groups are drawn at: the edges of bins, or the points of smooth curves of few images."""

    decades: NDArray
    smooth: bool


@figure
def gradient_norm_distribution(
    runs: Sequence[Run], ax: Axes | None = None, column: str = "l1", by: str = "all"
) -> Figure | Axes:
    """The distribution over images of the gradient's size, on a logarithmic axis, each curve's peak at 1.

    Above the curves stand their means with 95 % intervals. Where a curve has fewer than a hundred images all
    are kernel densities of the logarithm, above a row of their images. by ``correct`` draws correct (solid)
    and wrong images (dashed) apart. With each curve stand its mean ± standard deviation and number of images;
    more curves than four get a panel a model, before the others' in gray. Source: Rodríguez-Muñoz et al.
    2024, Fig. 6.
    """
    if by not in ("all", "correct"):
        raise UserError(f"unknown grouping by '{by}'; there are: all, correct")
    need_columns(runs, [column, "correct"] if by == "correct" else [column], "sample_asymmetry")
    return distribution(runs, ax, column, by, f"{NORMS.get(column, column)} of the loss gradient {UNIT}")


def distribution(runs: Sequence[Run], ax: Axes | None, column: str, by: str, label: str) -> Figure | Axes:
    """That of any positive column, as ``gradient_norm_distribution`` draws it; label: of its axis."""
    groups = groups_of(runs, column, by)
    scale = scale_of(groups, column)
    if ax is None and len(groups) > MOST_IN_ONE:
        return _a_panel_a_run(runs, groups, scale, label.replace(" of the loss gradient", ""))
    drawn, ax = one_panel(ax, rest=0.13 * (len(groups) - 1) * enlarged())
    draw_groups(ax, groups, scale)
    ax.set(xlabel=fitted(label, cell_width(ax) - 0.2), ylabel=SHARE)
    handles = ax.get_legend_handles_labels()[0]
    room = cell_width(ax) * CHARACTERS / enlarged() - 12
    texts = [_broken(f"{group.name}: ", group.said, room) for group in groups]
    ax.legend(handles, texts, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    footnote(drawn, note_of(groups, scale), runs)
    return ax


def groups_of(runs: Sequence[Run], column: str, by: str) -> list[Group]:
    """The images of each run, or its correct and wrong ones apart."""
    groups = []
    for look, run in zip(looks(runs), runs, strict=True):
        parts: dict[str, tuple[str, pd.DataFrame]] = {"": ("-", run.samples)}
        if by == "correct":
            right, wrong = right_and_wrong(run.samples)
            parts = {"correct": ("-", run.samples[right]), "wrong": ("--", run.samples[wrong])}
        for part, (style, rows) in parts.items():
            values = rows[column].to_numpy(float)
            sound = np.isfinite(values) & (values > 0)
            lost = len(values) - int(sound.sum())
            groups.append(Group(run.label, part, look.color, style, values[sound], lost, cluster_of(rows[sound])))
    return groups


def scale_of(groups: Sequence[Group], column: str) -> Scale:
    """One scale for all groups; raises UserError where there is nothing to draw."""
    sizes = np.log10(np.concatenate([group.values for group in groups]))
    if not len(sizes):
        raise UserError(f"no image has a positive, finite {column}; the gradients vanished (see gradient_flag)")
    low, high = sizes.min(), sizes.max()
    if any(0 < len(group.values) < FEW for group in groups):
        # Room for the curves' tails.
        margin = max(0.15, 0.12 * (high - low))
        return Scale(np.linspace(low - margin, high + margin, POINTS), smooth=True)
    count = min(MOST_BINS, len(np.histogram_bin_edges(sizes, "auto")) - 1)
    return Scale(np.linspace(low - 0.05, high + 0.05, count + 1), smooth=False)


def draw_groups(ax: Axes, groups: Sequence[Group], scale: Scale, others: Sequence[Group] = ()) -> None:
    """Curves with their means above them and, of few images, these below; before those of others, in gray."""
    ax.set(xscale="log", xlim=10 ** scale.decades[[0, -1]], yticks=[0, 0.5, 1])
    for other in others:
        if len(other.values):
            _shape(ax, other, scale, "", color="0.8", lw=0.5)
    for k, group in enumerate(groups):
        look: dict[str, Any] = {"color": group.color, "ls": group.style}
        if not len(group.values):
            ax.plot([], [], label=group.name, **look)
            continue
        _shape(ax, group, scale, group.name, **look)
        top = 1 + ABOVE * (len(groups) - k)
        marks = {"color": group.color, "marker": "o", "ms": 3, "mfc": group.color if group.style == "-" else "white"}
        interval(ax, group.name, top, group.mean, group.said, **marks).set_label("")
        if scale.smooth:
            below = np.full(len(group.values), -BELOW * (k + 0.8))
            ax.plot(group.values, below, ls="", marker="|", ms=4, mew=0.6, alpha=0.7, color=group.color)
            record(ax, "scatter", group.name, x=group.values, y=below)
    ax.set_ylim(-BELOW * (len(groups) + 0.5) if scale.smooth else 0, 1 + ABOVE * (len(groups) + 1))
    few_ticks(ax)


def _shape(ax: Axes, group: Group, scale: Scale, label: str, **look: Any) -> None:
    """A group's curve, or its bins, with their peak at 1; handed over where it has a label."""
    if not scale.smooth:
        _histogram(ax, group, scale.decades, label, **look)
    elif len(np.unique(group.values)) < DENSE:
        ax.plot([], [], label=label, **look)
    else:
        from scipy.stats import gaussian_kde

        density = gaussian_kde(np.log10(group.values))(scale.decades)
        x, y = 10**scale.decades, density / density.max()
        if not label:
            ax.plot(x, y, **look)
            return
        curve(ax, label, x, y, **look)
        ax.fill_between(x, 0, y, color=look["color"], alpha=0.12, lw=0)


def _histogram(ax: Axes, group: Group, decades: NDArray, label: str, **look: Any) -> None:
    import seaborn as sns

    counts = np.histogram(np.log10(group.values), decades)[0]
    heights, middles = counts / counts.max(), 10 ** ((decades[1:] + decades[:-1]) / 2)
    # On an axis that is logarithmic already, seaborn takes exponents.
    bins = {"bins": len(counts), "binrange": (decades[0], decades[-1])}
    how = {"alpha": 0.15, "label": label} if label else {"fill": False}
    sns.histplot(x=middles, weights=heights, element="step", ax=ax, **bins, **how, **look)
    if label:
        record(ax, "bin", label, x=middles, y=heights, low=10 ** decades[:-1], high=10 ** decades[1:])


def _a_panel_a_run(runs: Sequence[Run], groups: Sequence[Group], scale: Scale, label: str) -> Figure | Axes:
    drawn, axes = a_panel_each(runs, height=1.1 + 0.1 * (len(groups) // len(runs)))
    for ax, run in zip(axes, runs, strict=True):
        own = [group for group in groups if group.run == run.label]
        draw_groups(ax, own, scale, [group for group in groups if group.run != run.label])
        said = "\n".join(f"{group.part}: {group.said}".removeprefix(": ") for group in own)
        ax.set_title(run.label, pad=4 + 8 * len(own) * enlarged())
        ax.text(0.5, 1.03, said, transform=ax.transAxes, ha="center", va="bottom", fontsize=points(6.5))
    outer_labels(axes, label, SHARE)
    styles = "; solid: correct, dashed: wrong" if any(group.part for group in groups) else ""
    footnote(drawn, f"gray: the other models{styles}; {note_of(groups, scale)}", runs)
    return drawn or axes[0]


def note_of(groups: Sequence[Group], scale: Scale) -> str:
    """What the marks are, and what is left out and why."""
    said = ["mean ± standard deviation", "dots: means with 95 % intervals"]
    said += ["ticks: images, curves: their kernel density"] if scale.smooth else []
    single = [group.name for group in groups if len(group.values) == 1]
    wide = [group.name for group in groups if len(group.values) > 1 and not np.isfinite(group.mean[1])]
    said += [f"no interval of a single image: {', '.join(single)}"] if single else []
    said += [f"no interval drawn where it reaches below 0: {', '.join(wide)}"] if wide else []
    gone = [f"{group.run} {group.part}".strip() + f" {group.left_out:,}" for group in groups if group.left_out]
    said += [f"images without a positive, finite value left out: {', '.join(gone)}"] if gone else []
    return "; ".join(said)


def _broken(name: str, said: str, room: float) -> str:
    """On one line, or on two where a narrow column has no room for it."""
    return f"{name}{said}" if len(name) + len(said) <= room else f"{name.rstrip()}\n{said}"
