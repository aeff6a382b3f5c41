"""Where a figure's texts and data stand on its page, in pixels of what is drawn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from gradlens.plotting import paper_style


def texts_of(figure: Figure) -> list[tuple[str, float, Bbox]]:
    """Every text that is seen: what it says, its angle in degrees and its box."""
    with paper_style():
        figure.draw_without_rendering()
        hidden = {id(text) for ax in figure.axes for text in _unseen(ax)}
        found = [text for text in figure.findobj(Text) if text.get_text().strip() and id(text) not in hidden]
        shown = [text for text in found if text.get_visible() and text.get_alpha() != 0]
        return [(text.get_text(), text.get_rotation(), text.get_window_extent()) for text in shown]


def cut(figure: Figure, slack: float = 0.5) -> list[str]:
    """The texts that leave the page, by more than half a dot."""
    page = figure.bbox.padded(slack)
    return [said for said, _, box in texts_of(figure) if not _within(page, box)]


def colliding(figure: Figure, slack: float = 0.5) -> list[tuple[str, str]]:
    """Pairs of texts whose boxes overlap by more than half a dot; slanted ones have larger boxes than letters."""
    upright = [(said, box) for said, angle, box in texts_of(figure) if angle % 90 == 0]
    return [
        (a, b)
        for k, (a, one) in enumerate(upright)
        for b, other in upright[:k]
        if Bbox.intersection(one.padded(-slack), other.padded(-slack)) is not None
    ]


def has_ink(ax: Axes) -> bool:
    """Whether a panel shows data or words."""
    return bool(ax.has_data() or ax.texts)


def _within(page: Bbox, box: Bbox) -> bool:
    return bool(np.all(box.min >= page.min) and np.all(box.max <= page.max))


def _unseen(ax: Axes) -> Iterator[Text]:
    """Texts of hidden panels, and the labels of ticks beyond the axis, which are not drawn."""
    if not ax.get_visible():
        yield from ax.findobj(Text)
    for axis in (ax.xaxis, ax.yaxis, *(child.xaxis for child in ax.child_axes)):
        scale = axis.get_transform().transform
        low, high = sorted(scale(np.asarray(axis.get_view_interval())))
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            inside = low - 1e-6 * (high - low) <= scale(np.asarray([tick.get_loc()]))[0] <= high + 1e-6 * (high - low)
            drawn = inside and axis.get_visible() and ax.axison
            yield from (label for label in (tick.label1, tick.label2) if not drawn or not label.get_visible())
