"""Curves of several models, each of one training or of several seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar, runtime_checkable

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from gradlens.stats.intervals import mean_interval

CLEAN, ROBUST = "-", "--"
# Inches of a legend's entry.
ENTRY = 1.35


@runtime_checkable
class Labelled(Protocol):
    @property
    def label(self) -> str: ...


One = TypeVar("One", bound=Labelled)
Drawing = TypeVar("Drawing", bound=Callable)


def by_label(items: Iterable[One]) -> dict[str, list[One]]:
    """What shares a label, in order: the seeds of one model."""
    groups: dict[str, list[One]] = {}
    for item in items:
        groups.setdefault(item.label, []).append(item)
    return groups


def over_seeds(curves: ArrayLike) -> NDArray[np.float64]:
    """Mean over seeds ``(S, N)`` and its 95 % t-limits, ``(3, N)``; the limits of one seed are missing."""
    return np.array([mean_interval(values) for values in np.asarray(curves, dtype=np.float64).T]).T


def percent_over_seeds(shares: ArrayLike) -> NDArray[np.float64]:
    """``over_seeds`` of shares in percent, with limits that stay in its range."""
    return np.clip(100 * over_seeds(shares), 0, 100)


def banded_line(
    ax: Axes,
    x: ArrayLike,
    curve: NDArray,
    color: str,
    style: Any = "-",
    label: str = "",
    *,
    marker: str = "",
    band: bool = True,
) -> Line2D:
    """The curve ``(3, N)`` of mean and limits, as a line and a band; what is missing is passed over."""
    mean, low, high = curve
    known = np.isfinite(mean)
    places = np.asarray(x)[known]
    # A line of one point would not be seen.
    marker = marker or ("o" if len(places) == 1 else "")
    (line,) = ax.plot(places, mean[known], color=color, ls=style, label=label, marker=marker, ms=3)
    if band and np.isfinite(low[known]).any():
        ax.fill_between(places, low[known], high[known], color=color, alpha=0.18, lw=0, label=label)
    return line


def legend_columns(entries: int) -> int:
    """How many entries fit beside each other above a figure of the style's width."""
    return max(1, min(entries, int(mpl.rcParams["figure.figsize"][0] // ENTRY)))


def seeds_text(group: list[One]) -> str:
    """``natural (5 seeds)``, or the label of one."""
    return f"{group[0].label} ({len(group)} seeds)" if len(group) > 1 else group[0].label


def clean_and_robust(robust: str) -> list[Line2D]:
    """What the two line styles mean, for a legend."""
    return [
        Line2D([], [], color="black", ls=CLEAN, label="clean"),
        Line2D([], [], color="black", ls=ROBUST, label=robust),
    ]


def of_seeds(figure: Drawing) -> Drawing:
    """Mark a figure for which runs of one label are training seeds of one model."""
    figure.seeds = True  # type: ignore[attr-defined]
    return figure
