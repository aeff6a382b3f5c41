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
from gradlens.plotting._looks import looks
from gradlens.plotting.panels import (
    MOST_IN_ONE,
    footnote,
    images_of,
    need_columns,
    one_panel,
    outer_labels,
    small_multiples,
)
from gradlens.runs.record import Run
from gradlens.stats.intervals import mean_interval

NORMS = {"l1": "L1 norm", "l2": "L2 norm", "linf": "L∞ norm"}


class Group(NamedTuple):
    """The images of one curve: their positive, finite values, and how many had none."""

    run: str
    part: str
    color: str
    style: str
    values: NDArray
    left_out: int


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
    finite = np.concatenate([group.values for group in groups])
    if not len(finite):
        raise UserError(f"no image has a positive, finite {column}; the gradients vanished (see gradient_flag)")
    bins = np.logspace(np.log10(finite.min()) - 0.05, np.log10(finite.max()) + 0.05, 51)
    labels = (f"{NORMS.get(column, column)} of the loss gradient (nats per unit pixel)", "images (peak = 1)")
    if ax is None and len(groups) > MOST_IN_ONE:
        return _a_panel_a_run(runs, groups, bins, labels)
    drawn, ax = one_panel(ax, rest=0.13 * (len(groups) - 1))
    for group in groups:
        name = f"{group.run}, {group.part}" if group.part else group.run
        _outline(ax, group, bins, f"{name}: {_said(group)}")
    ax.set(xscale="log", xlabel=labels[0], ylabel=labels[1])
    ax.set_ylim(bottom=0)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    footnote(drawn, _note(runs, groups))
    return ax


def _a_panel_a_run(runs: Sequence[Run], groups: Sequence[Group], bins: NDArray, labels: tuple[str, str]) -> Figure:
    drawn, axes = small_multiples(len(runs), height=1.1 + 0.1 * (len(groups) // len(runs)))
    for ax, run in zip(axes, runs, strict=True):
        own = [group for group in groups if group.run == run.label]
        for other in (group for group in groups if group.run != run.label and len(group.values)):
            ax.stairs(_heights(other.values, bins), bins, color="0.8", lw=0.5)
        for group in own:
            _outline(ax, group, bins, group.part)
        said = "\n".join(f"{group.part}: {_said(group)}".removeprefix(": ") for group in own)
        ax.set_title(run.label, pad=4 + 8 * len(own))
        ax.text(0.5, 1.03, said, transform=ax.transAxes, ha="center", va="bottom", fontsize=6.5)
    axes[0].set_xscale("log")
    axes[0].set_ylim(bottom=0)
    outer_labels(axes, labels[0].replace(" of the loss gradient", ""), labels[1])
    styles = "; solid: correct, dashed: wrong" if any(group.part for group in groups) else ""
    footnote(drawn, f"gray: the other models{styles}; {_note(runs, groups)}")
    return drawn


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


def _outline(ax: Axes, group: Group, bins: NDArray, label: str) -> None:
    if not len(group.values):
        ax.plot([], [], color=group.color, ls=group.style, label=label)
        return
    share = _heights(group.values, bins)
    ax.stairs(share, bins, color=group.color, ls=group.style, lw=1.2, label=label)
    ax.stairs(share, bins, color=group.color, alpha=0.15, fill=True, lw=0)
    mean, low, high = mean_interval(group.values)
    ax.axvline(mean, color=group.color, ls=group.style, lw=0.6)
    if np.isfinite(low):
        # A limit of zero or less has no place on a logarithmic axis.
        ax.axvspan(max(low, bins[0]), high, color=group.color, alpha=0.2, lw=0)


def _heights(values: NDArray, bins: NDArray) -> NDArray:
    share = np.histogram(values, bins)[0].astype(float)
    return share / share.max()


def _said(group: Group) -> str:
    if not len(group.values):
        return "none"
    return f"{group.values.mean():.3g} ± {group.values.std():.3g}, n = {len(group.values):,}"


def _note(runs: Sequence[Run], groups: Sequence[Group]) -> str:
    left_out = {f"{group.run} {group.part}".strip(): group.left_out for group in groups if group.left_out}
    gone = ", ".join(f"{name} {count:,}" for name, count in left_out.items())
    zeros = f"; images without a positive, finite gradient left out: {gone}" if gone else ""
    return f"{images_of(runs)}; mean ± standard deviation; upright lines: means with 95 % intervals{zeros}"
