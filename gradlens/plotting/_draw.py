from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradlens.core.names import parse_spec, unknown
from gradlens.core.registry import figure as figures
from gradlens.core.types import UserError
from gradlens.plotting._arrange import arrange, as_runs
from gradlens.plotting.style import paper_style
from gradlens.runs.history import check_kind

# More marks than this become pixels, which a reader's viewer draws at once.
DENSE = 2000


def draw(
    spec: str,
    runs: Any,
    ax: Axes | None = None,
    venue: str = "neurips",
    columns: int = 2,
    *,
    labels: Sequence[str] | None = None,
    order: Sequence[str] | None = None,
    select: Sequence[str] | None = None,
    **options: Any,
) -> Figure:
    """Draw a registered figure, ``name`` or ``name:option=value``, in a paper's style.

    runs: a Run, a DataFrame with a run's columns, an array of the one column that a figure draws, several
    of them, or a mapping from labels to them. ax: draw into these axes, for figures that are one panel.
    columns: 1 for the width of the venue's column, 2 for that of its text. labels, order, select: names
    to show, one a run; which come first; which to keep. A label has one colour in all figures. Returns
    the figure; nothing is shown.
    """
    name, text = parse_spec(spec)
    if ax is not None:
        options["ax"] = ax
    _check_options(name, options)
    given = as_runs(runs, spec, options.get("column", text.get("column")))
    check_kind(name, figures[name], given)
    shown = arrange(given, labels, order, select)
    with paper_style(venue, columns):
        drawn = figures.build(spec)(shown, **options)
    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    if ax is None:
        # Says what it is: to a caption, and in the file.
        figure.set_label(spec)
    _rasterise_dense(figure if ax is None else ax)
    return figure


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    known = [n for n, p in inspect.signature(figures[name]).parameters.items() if p.default is not p.empty]
    if "ax" in options and "ax" not in known:
        raise UserError(f"figure '{name}' is more than one panel and takes no ax; leave it out")
    for option in options:
        if option not in known:
            raise UserError(unknown(f"parameter of figure '{name}'", option, known))


def _rasterise_dense(drawn: Figure | Axes) -> None:
    for artist in drawn.findobj(lambda a: isinstance(a, Collection | Line2D)):
        if _marks(artist) > DENSE:
            artist.set_rasterized(True)


def _marks(artist: Any) -> int:
    if isinstance(artist, Line2D):
        return len(np.atleast_1d(artist.get_xdata()))
    return max(len(artist.get_offsets()), len(artist.get_paths()))
