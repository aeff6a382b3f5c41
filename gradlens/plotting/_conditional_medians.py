from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from gradlens.core.names import Name
from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting._gradient_norm_distribution import NORMS
from gradlens.plotting.panels import (
    cell_width,
    few_ticks,
    fitted,
    footnote,
    interval,
    is_wide,
    legend,
    need_columns,
    one_panel,
)
from gradlens.plotting.style import enlarged, looks
from gradlens.runs.record import Run, right_and_wrong
from gradlens.stats.clusters import cluster_of
from gradlens.stats.intervals import quantile_interval

NOTE = "bars: 95 % intervals of the median, which fewer than 6 images have not; the vulnerable contain clean mistakes"
# Inches a group beyond the first few.
FEW, ROW = 5, 0.25


@figure
def conditional_medians(runs: Sequence[Run], ax: Axes | None = None, column: str = "l1") -> Axes:
    """Median size of the gradient over all, correct and wrong images, and over those that withstand an attack or not.

    Bars are 95 % intervals of the median, free of the distribution. "Vulnerable" contains clean mistakes.
    Source: Rodríguez-Muñoz et al. 2024, Table 1, in whose means single images may rule.
    """
    need_columns(runs, [column], "sample_asymmetry")
    attacks = list(dict.fromkeys(name for run in runs for name in run.samples if name.startswith("robust[")))
    groups = [dict(_groups(run, attacks)) for run in runs]
    names = list(dict.fromkeys(name for group in groups for name in group))
    own, ax = one_panel(ax, rest=ROW * max(0, len(names) - FEW))
    step = min(0.3, 0.7 / len(runs))
    for k, (look, run, group) in enumerate(zip(looks(runs), runs, groups, strict=True)):
        medians = np.array([_median(run, column, group.get(name)) for name in names])
        places = np.arange(len(names)) + step * (k - (len(runs) - 1) / 2)
        interval(ax, run.label, places, medians.T, color=look.color, marker=look.marker)
    if not any(np.isfinite(line.get_xdata()).any() for line in ax.lines):
        raise UserError(f"no image has a finite {column}; see gradient_flag")
    ax.set_yticks(np.arange(len(names)), [f"{name} ({_count(groups, name)})" for name in names])
    which = f"\nrobust: {_attack(attacks[0])}" if len(attacks) == 1 else ""
    label = fitted(f"median {NORMS.get(column, column)} (nats per unit pixel)", cell_width(ax) - 1.2 * enlarged())
    # In a narrow column there is more room below the names than below the panel.
    ax.set_xlabel(label + which, loc="center" if is_wide() else "right")
    ax.set(xscale="log", ylim=(len(names) - 0.5, -0.5))
    few_ticks(ax)
    if len(runs) > 1:
        legend(own, ax, ax.lines)
    footnote(own, NOTE, runs)
    return ax


def _groups(run: Run, attacks: Sequence[str]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Images by what becomes of them; an attack is named where there are several."""
    samples = run.samples
    yield "all", np.ones(len(samples), bool)
    if "correct" in samples:
        yield from zip(("correct", "wrong"), right_and_wrong(samples), strict=True)
    for name in (name for name in attacks if name in samples):
        flag, which = samples[name].to_numpy(np.float64), f", {_attack(name)}" if len(attacks) > 1 else ""
        yield f"robust{which}", flag == 1
        yield f"vulnerable{which}", flag == 0


def _attack(column: str) -> str:
    """``robust[pgd10,linf,4/255]`` → ``pgd10 linf 4/255``."""
    return Name.parse(column).parameters.replace(",", " ")


def _median(run: Run, column: str, rows: NDArray[np.bool_] | None) -> tuple[float, float, float]:
    """With its limits; missing where the run has no such images."""
    values = run.samples[column].to_numpy(np.float64)[slice(0, 0) if rows is None else rows]
    own = cluster_of(run.samples)
    return quantile_interval(values, cluster=own if own is None or rows is None else own[rows])


def _count(groups: Sequence[dict[str, NDArray[np.bool_]]], name: str) -> str:
    """Images in a group: of one run, or from the fewest to the most of several."""
    found = sorted({int(group[name].sum()) for group in groups if name in group})
    return f"n = {found[0]:,}" if len(found) == 1 else f"n = {found[0]:,} to {found[-1]:,}"
