"""A run's numbers worth reading first, with n and intervals, as rows of text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes

from gradlens.runs.record import Run
from gradlens.stats.intervals import share_interval

Row = tuple[str, str, str]


def headline_rows(run: Run) -> list[Row]:
    """Title, value and 95 % interval of accuracy and of what the analyzers read first."""
    return [*_accuracy(run), *_readings(run)]


def _accuracy(run: Run) -> Iterator[Row]:
    if "correct" in run.samples:
        share, low, high = share_interval(int(run.samples["correct"].sum()), len(run.samples))
        yield "top-1 (%)", f"{100 * share:.1f}", f"{100 * low:.1f} … {100 * high:.1f}"


def _readings(run: Run) -> Iterator[Row]:
    for title, key, _ in run.readings:
        value = run.summary.get(key)
        # Those that belong to the number above them are indented.
        if title.startswith(" ") or not isinstance(value, int | float):
            continue
        limits = _limits(run, key)
        yield title.partition(" [")[0], f"{value:.3g}", f"{limits[0]:.3g} … {limits[1]:.3g}" if limits else ""


def _limits(run: Run, key: str) -> tuple[float, float] | None:
    """``l1_mean_low`` of ``l1_mean``, ``edge_low`` of ``edge_mean``; before a name's parameters."""
    name, parameters = re.fullmatch(r"([^@\[]*)(.*)", key).groups()  # type: ignore[union-attr]
    for stem in (name, name.removesuffix("_mean")):
        low, high = (run.summary.get(f"{stem}_{end}{parameters}") for end in ("low", "high"))
        if low is not None and high is not None:
            return low, high
    return None


def write_table(ax: Axes, rows: Sequence[Row], blocks: int = 2, most: int = 8) -> None:
    """The first rows as text of three columns, ``most`` a block, in blocks beside each other."""
    ax.set_axis_off()
    width = 1 / blocks
    for b in range(blocks):
        block = rows[b * most : (b + 1) * most]
        for k, row in enumerate([("", "", "95 % interval"), *block] if block else []):
            height = 1 - (k + 0.5) / (most + 1)
            for text, x, align in zip(row, (0.03 * b, 0.62, 0.97), ("left", "right", "right"), strict=True):
                ax.text(width * (b + x), height, text, transform=ax.transAxes, ha=align, va="center", fontsize=6)
