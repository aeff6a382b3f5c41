"""What a caller has → the runs that a figure draws, under which names and in which order → the figure."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradlens.core.names import first_twice, parse_spec, unknown
from gradlens.core.registry import figure as figures
from gradlens.core.table import Table
from gradlens.core.types import UserError
from gradlens.plotting.panels import without_note
from gradlens.plotting.style import FONT_SIZE, as_written, display_of, dressed, paper_style
from gradlens.runs.history import History, check_kind
from gradlens.runs.record import Run


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
    font_size: float = FONT_SIZE,
    height: float | None = None,
    note: bool = True,
    **options: Any,
) -> Figure:
    """Draw a registered figure, ``name`` or ``name:option=value``, in a paper's style.

    runs: a Run, a study's Table, a DataFrame with a run's columns, an array of the one column that a figure
    draws, several of them, or a mapping from labels to them. ax: draw into these axes, for figures that are one panel.
    columns: 1 for the width of the venue's column, 2 for that of its text. labels, order, select: names
    to show, one a run; which come first; which to keep. A label has one colour in all figures of a session,
    by the order in which labels were first given. font_size: in points; height: of the figure in inches, else
    what it needs; note: whether the lines below it are drawn, which ``caption`` has in any case. Returns the
    figure; nothing is shown.
    """
    name, text = parse_spec(spec)
    if ax is not None:
        options["ax"] = ax
    if height is not None and (ax is not None or not height > 0):
        raise UserError(f"a height of {height:g} inches is none" if ax is None else "the height is that of ax' figure")
    _check_options(name, options)
    given = as_runs(runs, spec, options.get("column", text.get("column")))
    check_kind(name, figures[name], given)
    shown = arrange(given, labels, order, select)
    with paper_style(venue, columns, font_size):
        drawn = figures.build(spec)(shown, **options)
        figure = drawn.get_figure(root=True) if isinstance(drawn, Axes) else drawn
        if not isinstance(figure, Figure):
            raise UserError(f"figure '{name}' returned a {type(drawn).__name__}; wanted a matplotlib Figure or Axes")
        as_written(figure if ax is None else ax)
        if ax is None and not note:
            without_note(figure)
    if height is not None:
        figure.set_figheight(height)
    if ax is None:
        # Says what it is: to a caption, and in the file.
        figure.set_label(spec)
    return figure


def _check_options(name: str, options: Mapping[str, Any]) -> None:
    known = [n for n, p in inspect.signature(figures[name]).parameters.items() if p.default is not p.empty]
    if "ax" in options and "ax" not in known:
        raise UserError(f"figure '{name}' is more than one panel and takes no ax; leave it out")
    for option in options:
        if option not in known:
            raise UserError(unknown(f"parameter of figure '{name}'", option, known))


def arrange(
    runs: Sequence[Run] | Sequence[History],
    labels: Sequence[str] | None = None,
    order: Sequence[str] | None = None,
    select: Sequence[str] | None = None,
) -> list[Any]:
    """Runs or trainings named by ``labels``, in turn; of these the ``select``-ed, those of ``order`` first and in it.

    labels: one for each run, or for each label that they have, which seeds of one training share. Without
    ``order``, that of the manifest, then as given. A run keeps its colour when others are left out. Runs
    of one name are numbered. Raises UserError for a wrong number of labels, and for a name nobody has.
    """
    named = _named(runs, labels)
    shown = dressed(named)
    if select:
        _check_known(select, shown)
        shown = [run for run in shown if run.label in select]
    if order:
        _check_known(order, shown)
        return sorted(shown, key=lambda run: order.index(run.label) if run.label in order else len(order))
    return sorted(shown, key=lambda run: display_of(run).get("order", math.inf))


def as_runs(given: Any, spec: str, column: str | None = None) -> list[Any]:
    """Runs from a Run, a DataFrame of its columns or an array, from several of them, or from a mapping by label.

    An array stands for the column that the figure draws, ``column`` or the figure's default.
    """
    if isinstance(given, Mapping):
        return [_as_run(part, spec, column).named(str(label)) for label, part in given.items()]
    several = isinstance(given, list | tuple) and not (given and all(np.isscalar(part) for part in given))
    return [_as_run(part, spec, column) for part in (given if several else [given])]


def _as_run(part: Any, spec: str, column: str | None) -> Any:
    if isinstance(part, Run | History):
        return part
    if isinstance(part, pd.DataFrame):
        return Run(part, {"model": "data"})
    if isinstance(part, Table):
        made_of = {"model": part.title, "data": part.provenance.get("data")}
        return Run(part.frame, made_of, dict(part.arrays), dict(part.provenance))
    values = np.asarray(part)
    if values.ndim != 1 or values.dtype.kind not in "biuf":
        raise UserError(f"cannot draw a {type(part).__name__}; give a Run, a DataFrame of its columns or a 1-D array")
    parameter = inspect.signature(figures[spec.partition(":")[0]]).parameters.get("column")
    if parameter is None:
        raise UserError(f"{spec} draws more than one column; give a Run, or a DataFrame with its columns")
    return Run(pd.DataFrame({column or parameter.default: values}), {"model": "data"})


def _named(runs: Sequence[Any], labels: Sequence[str] | None) -> list[Any]:
    if not runs:
        raise UserError("no run to draw; give the folder of an analysis")
    own = [run.label for run in runs]
    distinct, seeds = list(dict.fromkeys(own)), any(isinstance(run, History) for run in runs)
    if labels is None:
        chosen = own if seeds else [_numbered(own, k) for k in range(len(own))]
    elif len(labels) in (len(distinct), len(runs)):
        chosen = [labels[distinct.index(label)] for label in own] if len(labels) == len(distinct) else list(labels)
    else:
        raise UserError(
            f"{len(labels)} label{'s' * (len(labels) != 1)} ({', '.join(labels)}) for {len(runs)} "
            f"run{'s' * (len(runs) != 1)} ({', '.join(own)}); give one for each, in their order"
        )
    twice = first_twice(chosen)
    if twice and not seeds:
        raise UserError(f"two runs are to be called '{twice}'; give each a name of its own")
    return [run.named(name) for run, name in zip(runs, chosen, strict=True)]


def _numbered(labels: list[str], k: int) -> str:
    """A label with which of several of that name it is."""
    before = labels[:k].count(labels[k])
    return f"{labels[k]} ({before + 1})" if labels.count(labels[k]) > 1 else labels[k]


def _check_known(names: Sequence[str], runs: Sequence[Run] | Sequence[History]) -> None:
    labels = [run.label for run in runs]
    for name in names:
        if name not in labels:
            raise UserError(unknown("run", name, labels))
