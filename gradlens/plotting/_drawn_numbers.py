"""A drawn figure → the numbers in it, read back from what was drawn, so that they cannot differ from it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import Collection, LineCollection, PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle, StepPatch
from matplotlib.text import Annotation
from numpy.typing import ArrayLike

COLUMNS = ("panel", "xlabel", "ylabel", "series", "kind", "x", "y", "low", "high", "text")


def numbers(figure: Figure) -> pd.DataFrame:
    """A row a mark: panel, xlabel, ylabel, series, kind, x, y, low, high, text.

    kind: ``line``, ``scatter``, ``bin`` (x is its middle, low and high its limits), ``bar``, ``band``
    and ``interval`` (low and high are y's limits, or x's where they lie along x), ``text``, and
    ``image``, of which only size and range are kept. A coordinate that does not belong to the data, such
    as the ends of a line across the panel, is missing.
    """
    rows: list[dict[str, Any]] = []
    for place, ax in enumerate(_panels(figure), 1):
        head = {
            "panel": " ".join(ax.get_title().split()) or f"panel {place}",
            "xlabel": _label(ax, "x"),
            "ylabel": _label(ax, "y"),
        }
        for artist in ax.get_children():
            label = str(artist.get_label())
            series = "" if label.startswith("_") else label
            rows += [{**head, "series": series, **row} for row in _rows(artist, ax)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _panels(figure: Figure) -> list[Axes]:
    """Those with something in them, but for colour bars, which repeat a scale."""
    return [ax for ax in figure.axes if ax.get_visible() and ax.get_label() != "<colorbar>"]


def _label(ax: Axes, along: str) -> str:
    """The axis' label, or that of the panel which it is shared with."""
    siblings = (ax.get_shared_x_axes() if along == "x" else ax.get_shared_y_axes()).get_siblings(ax)
    own = getattr(ax, f"get_{along}label")()
    found = own or next((text for s in siblings if (text := getattr(s, f"get_{along}label")())), "")
    return " ".join(str(found).split())


def _rows(artist: Any, ax: Axes) -> Iterator[dict[str, Any]]:
    if not artist.get_visible() or artist in (ax.patch, *ax.spines.values()):
        return
    if isinstance(artist, Line2D):
        yield from _points("line", *_of_data(artist, ax))
    elif isinstance(artist, StepPatch):
        # A filled one repeats its outline.
        yield from _bins(artist) if not artist.get_fill() else ()
    elif isinstance(artist, Rectangle):
        yield from _bar(artist, ax)
    elif isinstance(artist, Collection):
        yield from _of_collection(artist)
    elif isinstance(artist, AxesImage):
        yield {"kind": "image", "text": _picture(artist)}
    elif artist in ax.texts and artist.get_text():
        yield _text(artist, ax)


def _of_data(line: Line2D, ax: Axes) -> tuple[Any, Any]:
    """A line's coordinates, missing where they are the panel's and not the data's."""
    x, y = (np.asarray(line.get_data(orig=False)[k], np.float64) for k in (0, 1))
    along_x, along_y = line.get_transform().contains_branch_seperately(ax.transData)
    return (x if along_x else np.full_like(x, np.nan)), (y if along_y else np.full_like(y, np.nan))


def _of_collection(artist: Collection) -> Iterator[dict[str, Any]]:
    if isinstance(artist, PathCollection):
        yield from _points("scatter", *np.asarray(artist.get_offsets(), np.float64).T)
    elif isinstance(artist, PolyCollection) and artist.get_array() is None:
        for path in artist.get_paths():
            yield from _band(path.vertices)
    elif isinstance(artist, LineCollection):
        for (x0, y0), *_, (x1, y1) in artist.get_segments():
            low, high = (y0, y1) if x0 == x1 else (x0, x1)
            yield {"kind": "interval", "x": (x0 + x1) / 2, "y": (y0 + y1) / 2, "low": low, "high": high}
    elif (array := artist.get_array()) is not None:
        offsets, values = np.asarray(artist.get_offsets(), np.float64), np.ravel(array)
        if len(offsets) == len(values):
            for (x, y), value in zip(offsets, values, strict=True):
                yield {"kind": "bin", "x": x, "y": y, "text": f"{value:g}"}


def _points(kind: str, x: ArrayLike, y: ArrayLike) -> Iterator[dict[str, Any]]:
    for a, b in zip(np.atleast_1d(x), np.atleast_1d(y), strict=True):
        yield {"kind": kind, "x": a, "y": b}


def _bins(artist: StepPatch) -> Iterator[dict[str, Any]]:
    values, edges, _ = artist.get_data()
    for value, low, high in zip(values, edges[:-1], edges[1:], strict=True):
        yield {"kind": "bin", "x": (low + high) / 2, "y": value, "low": low, "high": high}


def _bar(artist: Rectangle, ax: Axes) -> Iterator[dict[str, Any]]:
    along_x, along_y = artist.get_data_transform().contains_branch_seperately(ax.transData)
    low, high = artist.get_x(), artist.get_x() + artist.get_width()
    if along_x and along_y:
        yield {"kind": "bar", "x": (low + high) / 2, "y": artist.get_height(), "low": low, "high": high}
    elif along_x:
        yield {"kind": "band", "x": (low + high) / 2, "low": low, "high": high}


def _band(vertices: Any) -> Iterator[dict[str, Any]]:
    """A band's limits at each x, from the outline around it."""
    outline = pd.DataFrame(vertices, columns=["x", "y"]).groupby("x")["y"]
    for x, (low, high) in zip(outline.min().index, zip(outline.min(), outline.max(), strict=True), strict=True):
        yield {"kind": "band", "x": x, "low": low, "high": high}


def _text(artist: Any, ax: Axes) -> dict[str, Any]:
    """What is written, and where if that is a place among the data."""
    if isinstance(artist, Annotation):
        x, y = artist.xy if artist.xycoords == "data" else (np.nan, np.nan)
    else:
        x, y = artist.get_position() if artist.get_transform() == ax.transData else (np.nan, np.nan)
    return {"kind": "text", "x": x, "y": y, "text": artist.get_text()}


def _picture(artist: AxesImage) -> str:
    pixels = np.ma.filled(np.ma.asarray(artist.get_array(), np.float64), np.nan)
    size = " × ".join(map(str, pixels.shape))
    return f"{size} values from {np.nanmin(pixels):.4g} to {np.nanmax(pixels):.4g}; left out"
