"""Names beside marks, without one covering another."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

# Offsets in points with their alignment, the most readable first.
PLACES = (
    *((4, 0, "left", "center"), (-4, 0, "right", "center"), (0, 4, "center", "bottom"), (0, -4, "center", "top")),
    *((3, 3, "left", "bottom"), (3, -3, "left", "top"), (-3, 3, "right", "bottom"), (-3, -3, "right", "top")),
)
MARK = 3.0


def place_labels(ax: Axes, points: NDArray, texts: Sequence[str], size: float = 6) -> int:
    """Write each text beside its point ``(N, 2)`` where there is room; returns how many found none.

    Call it last: room is what the axes, the marks and the texts so far leave.
    """
    drawn = ax.get_figure(root=True)
    assert drawn is not None
    drawn.draw_without_rendering()
    pixels = MARK * drawn.dpi / 72
    taken = [Bbox([(x - pixels, y - pixels), (x + pixels, y + pixels)]) for x, y in ax.transData.transform(points)]
    left_out = 0
    for k, text in enumerate(texts):
        others = taken[:k] + taken[k + 1 :]
        box = _place(ax, points[k], text, size, others)
        left_out += box is None
        taken += [box] if box else []
    return left_out


def _place(ax: Axes, point: NDArray, text: str, size: float, taken: Sequence[Bbox]) -> Bbox | None:
    """The box of the text at the first free place; None, and nothing written, where there is none."""
    for dx, dy, horizontal, vertical in PLACES:
        label = ax.annotate(
            text, (point[0], point[1]), (dx, dy), textcoords="offset points", fontsize=size, ha=horizontal, va=vertical
        )
        # Else the layout would shrink the axes after the room was measured.
        label.set_in_layout(False)
        box = label.get_window_extent()
        inside = ax.bbox.contains(box.x0, box.y0) and ax.bbox.contains(box.x1, box.y1)
        if inside and not any(box.overlaps(other) for other in taken):
            return box
        label.remove()
    return None
