"""A run's numbers worth reading first, with n and intervals, as rows of text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from gradlens.runs.readings import readings
from gradlens.runs.record import Run

Row = tuple[str, str, str]


def headline_rows(run: Run) -> list[Row]:
    """Title, value and 95 % interval of accuracy and of what the analyzers read first."""
    rows = []
    for reading in readings([run]):
        value, low, high, _ = reading.values[0]
        # Those that belong to the number above them are left to the tables.
        if reading.known and not reading.depth:
            limits = f"{low:.3g} … {high:.3g}" if math.isfinite(low) else ""
            rows.append((reading.title.partition(" [")[0], f"{value:.3g}", limits))
    return rows


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
