"""A look at single pictures: each beside its edges and its gradients, with what these are made of below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens.plotting.panels import footnote, record, short
from gradlens.plotting.pictures import LARGEST_CELL, SCALE, SMALLEST_CELL, corner, heading, in_gray, picture
from gradlens.plotting.style import CHANNELS, MUTED, as_written, enlarged, points

# Inches of the two lines above a picture and of the bars below a gradient; the least share that is written inside.
HEADING, BARS, WRITTEN = 0.32, 0.3, 0.2
NOTE = (
    "bars: parts of the L1 norm in %, by colour channel and on edge pixels; black line: the edges' part of all pixels, "
    "as much as chance gives"
)
OTHERS = "image and edges as the first model sees them"


class Gradient(NamedTuple):
    """One gradient ``(H, W, C)``: whose it is, what the image is taken for, its L1 norm, and parts of that."""

    title: str
    taken_for: str
    pixels: NDArray
    l1: float
    shares: Sequence[float]
    on_edges: float
    area: float


class Row(NamedTuple):
    """A picture ``(H, W, C)`` with its edges ``(H, W)`` and gradients; alike: every model sees the same pixels."""

    titles: Sequence[str]
    image: NDArray
    edges: NDArray
    gradients: Sequence[Gradient]
    alike: bool = True


def draw_look(rows: Sequence[Row]) -> Figure:
    """A line of pictures a row, or several where the style's width has no room: image, edges, gradients.

    Each gradient is on its own scale, its L1 norm in the corner; the bars below it are the parts of that norm in
    each colour channel and on edges, beside the edges' part of all pixels.
    """
    full = mpl.rcParams["figure.figsize"][0]
    count = 2 + len(rows[0].gradients)
    lines = -(-count // max(2, int(full // (SMALLEST_CELL * enlarged()))))
    across = -(-count // lines)
    cell = min(LARGEST_CELL, full / across)
    height = cell + (HEADING + BARS) * enlarged()
    figure = Figure(figsize=(full, lines * len(rows) * height + HEADING), layout="compressed")
    ratios = [cell, BARS] * (lines * len(rows))
    axes = figure.subplots(len(ratios), across, squeeze=False, height_ratios=ratios)
    for ax in axes.flat:
        ax.set_axis_off()
    for k, row in enumerate(rows):
        block = axes[2 * lines * k : 2 * lines * (k + 1)]
        _draw_row(row, block[::2].flatten().tolist(), block[1::2].flatten().tolist())
    alike = all(row.alike for row in rows)
    footnote(figure, "; ".join([SCALE, NOTE, *([] if alike else [OTHERS])]))
    as_written(figure)
    return figure


def _draw_row(row: Row, pictures: Sequence[Axes], bars: Sequence[Axes]) -> None:
    picture(pictures[0], row.image)
    heading(pictures[0], *row.titles)
    # Dark on light, as edges are drawn.
    picture(pictures[1], 1 - row.edges)
    pictures[1].set_axis_on()
    pictures[1].spines[:].set(visible=True, color=MUTED)
    heading(pictures[1], "Canny edges")
    for ax, below, gradient in zip(pictures[2:], bars[2:], row.gradients, strict=False):
        picture(ax, in_gray(gradient.pixels))
        heading(ax, gradient.title, gradient.taken_for)
        corner(ax, f"L1 {short(gradient.l1)}")
        record(ax, "text", gradient.title, panel=row.titles[0], text=f"L1 {gradient.l1:.6g}")
        _draw_bars(below, gradient)


def _draw_bars(ax: Axes, gradient: Gradient) -> None:
    """The channels' parts end to end, and below them the edges' beside the area's."""
    start = 0.0
    for (name, (color, _)), share in zip(CHANNELS.items(), gradient.shares, strict=True):
        if np.isfinite(share):
            ax.barh(1, share, left=start, color=color, height=0.85)
            if share > WRITTEN:
                _write(ax, start + share / 2, 1, f"{name} {100 * share:.0f}", "center")
            record(ax, "interval", name, x=share, low=start, high=start + share)
            start += share
    on_edges = gradient.on_edges
    if np.isfinite(on_edges):
        ax.barh([0, 0], [1, on_edges], color=["#DDDDDD", MUTED], height=0.85)
        ax.vlines(gradient.area, -0.5, 0.5, color="black", lw=1)
        # Where there is room for it: before the bar's end, or behind it.
        inside = on_edges > 0.5
        _write(ax, 0.04 if inside else 0.97, 0, f"edges {100 * on_edges:.0f}", "left" if inside else "right")
        record(ax, "interval", "edges", x=on_edges, text=f"area {gradient.area:.6g}")
    ax.set(xlim=(0, 1), ylim=(-0.55, 1.5))


def _write(ax: Axes, x: float, y: float, text: str, side: str) -> None:
    color = "black" if side == "right" else "white"
    ax.text(x, y, text, color=color, fontsize=points(5.5), ha=side, va="center_baseline")
