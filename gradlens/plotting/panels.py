"""What figures share: panels of a venue's width, the columns they need of a run, and the numbers they hand over."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from gradlens.core.names import Name
from gradlens.core.types import UserError
from gradlens.plotting.style import enlarged, points
from gradlens.runs.record import Run

# More curves than this in one panel hide each other.
MOST_IN_ONE = 4
# No panel of several is narrower than this, in inches.
NARROWEST = 1.6
# From this width on, in inches, a legend stands beside the panel and two panels beside each other.
WIDE = 4.5
# Characters of small type that fit into an inch, and inches of a legend's handle, of its line and of the note's.
CHARACTERS, HANDLE, ENTRY, LINE = 16, 0.5, 0.16, 0.11
# Lines of a note that a figure's usual height has room for.
ROOM = 2
COLUMNS = ("panel", "xlabel", "ylabel", "series", "kind", "x", "y", "low", "high", "text")
MODEL_FLAGS = ("arch", "activation", "weights", "mean", "std", "normalized", "num_classes", "trust_pickle")
DATA_FLAGS = ("split", "root", "limit", "labels", "subset", "class_map", "class_order")
DEFAULTS = {"weights": "auto", "split": "val"}
# Kept beside the panels and not read back from their marks; gone when a panel is.
HANDED_OVER: WeakKeyDictionary[Axes, list[pd.DataFrame]] = WeakKeyDictionary()


def new_figure(
    rows: int, columns: int, cell: float | None = None, height: float | None = None, rest: float = 0.0, **options: Any
) -> tuple[Figure, NDArray]:
    """A figure of the style's width and its ``(rows, columns)`` axes, unknown to pyplot's window manager.

    cell: side of square cells in inches, at most, for pictures, which are packed in the middle. height:
    of each row in inches, without it as the style says; rest: of what stands above and below them.
    """
    full, usual = mpl.rcParams["figure.figsize"]
    row = min(cell, full / columns) if cell else height or usual
    figure = Figure(figsize=(full, row * rows + rest), layout="compressed" if cell else "constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def one_panel(ax: Axes | None, rest: float = 0.0) -> tuple[Figure | None, Axes]:
    """The caller's axes, else those of a new figure, and that figure, which may be written on."""
    if ax is not None:
        return None, ax
    figure, axes = new_figure(1, 1, rest=rest)
    return figure, axes[0, 0]


def a_panel_each(
    runs: Sequence[Run], ax: Axes | None = None, height: float = 1.0, rest: float = 0.9
) -> tuple[Figure | None, list[Axes]]:
    """A figure of a panel a run in as many equal rows as its width needs, the scales shared; or a caller's axes."""
    if ax is not None and len(runs) > 1:
        raise UserError(f"the figure draws a panel a model; {len(runs)} runs do not fit into one ax")
    if ax is not None:
        return None, [ax]
    count = len(runs)
    full, usual = mpl.rcParams["figure.figsize"]
    rows = -(-count // max(1, int(full // (NARROWEST * enlarged()))))
    columns = -(-count // rows)
    height, rest = height * enlarged(), rest * enlarged()
    # One row is as high as any other figure.
    row = height if rows > 1 else max(height, usual - rest)
    figure, axes = new_figure(rows, columns, height=row, rest=rest, sharex=True, sharey=True)
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    for ax in axes.flat[max(0, count - columns) : count]:
        ax.tick_params(labelbottom=True)
    return figure, list(axes.flat[:count])


def outer_labels(axes: Sequence[Axes], xlabel: str, ylabel: str) -> None:
    """Label small multiples where they end: below the last of each column, left of the first of each row."""
    grid = axes[0].get_gridspec()
    columns = grid.ncols if grid else 1
    for k, ax in enumerate(axes):
        ax.set_xlabel(fitted(xlabel, cell_width(axes[0])) if k >= len(axes) - columns else "")
        ax.set_ylabel(ylabel if k % columns == 0 else "")


def fitted(label: str, inches: float) -> str:
    """An axis' label with its unit on a second line, where one has no room for it."""
    return label if len(label) * enlarged() <= CHARACTERS * inches else label.replace(" (", "\n(")


def few_ticks(ax: Axes, along: str = "x") -> None:
    """Below two decades, where a logarithmic axis labels one tick or writes its minor ones over each other."""
    axis, limits = getattr(ax, f"{along}axis"), getattr(ax, f"set_{along}lim")
    low, high = getattr(ax, f"get_{along}lim")()
    if high < 100 * low:
        # In a narrow panel 1 2 5 10 20 50 would run into each other.
        steps = (1, 2, 5) if high < 10 * low or cell_width(ax) > 2 * enlarged() else (1, 3)
        locator = LogLocator(subs=steps) if high > 4 * low else MaxNLocator(3, steps=[1, 2, 5, 10])
        ticks = [tick for tick in locator.tick_values(low, high) if low <= tick <= high]
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_minor_locator(NullLocator())
        limits(low, high)


def is_wide() -> bool:
    """Whether the style's width has room for what may also stand below."""
    return bool(mpl.rcParams["figure.figsize"][0] >= WIDE * enlarged())


def legend_above(figure: Figure, handles: Sequence[Artist]) -> None:
    """A legend above all panels, in as many columns as its names leave; the figure grows by its lines."""
    widths = [(HANDLE + len(str(handle.get_label())) / CHARACTERS) * enlarged() for handle in handles]
    columns = next(n for n in range(len(handles), 0, -1) if n == 1 or _across(widths, n) < figure.get_figwidth())
    figure.set_figheight(figure.get_figheight() + ENTRY * enlarged() * -(-len(handles) // columns))
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)


def _across(widths: Sequence[float], columns: int) -> float:
    """The width of a legend, which is filled column by column, each as wide as its widest entry."""
    return sum(max(column) for column in np.array_split(widths, columns))


def legend(figure: Figure | None, ax: Axes, handles: Sequence[Artist] = (), **options: Any) -> None:
    """A legend beside the only panel of a figure, above it in a narrow column, and inside a caller's axes."""
    shown = handles or ax.get_legend_handles_labels()[0]
    if figure is not None and not is_wide():
        legend_above(figure, shown)
    elif figure is not None:
        ax.legend(handles=shown, loc="center left", bbox_to_anchor=(1, 0.5), **options)
    else:
        ax.legend(handles=shown, **options)


def cell_width(ax: Axes) -> float:
    """The width in inches that a panel has at most."""
    grid = ax.get_gridspec()
    return ax.figure.get_figwidth() / (grid.ncols if grid else 1)  # type: ignore[union-attr]


def short(value: float) -> str:
    """Three digits, and no exponent where whole numbers do: ``1,230`` and not ``1.23e+03``."""
    return f"{value:,.0f}" if 999.5 <= abs(value) < 1e6 else f"{value:.3g}"


def mean_and_deviation(values: NDArray, written: Callable[[float], str] = short) -> str:
    """``4.1 ± 0.3, n = 24``; of one image its value alone, since that says nothing of how they vary."""
    spread = f" ± {written(values.std())}" if len(values) > 1 else ""
    return f"{written(values.mean())}{spread}, n = {len(values):,}"


def counted(images: int) -> str:
    return f"n = {images:,} image{'s' * (images != 1)}"


def images_of(runs: Sequence[Run]) -> str:
    """How many images the runs have: ``n = 500 images``, or each run's number."""
    counts = [len(run.samples) for run in runs]
    if len(set(counts)) == 1:
        return counted(counts[0]) + (" each" if len(runs) > 1 else "")
    return "n: " + ", ".join(f"{run.label} {count:,}" for run, count in zip(runs, counts, strict=True)) + " images"


def footnote(figure: Figure | None, text: str, runs: Sequence[Run] = ()) -> None:
    """Lines below a figure that state n of its runs, intervals, scales, what it leaves out, between semicolons.

    The figure grows by those that are more than two. None, which ``one_panel`` gives for a caller's axes, is
    left alone.
    """
    if figure is None:
        return
    text = f"{images_of(runs)}; {text}" if runs else text
    # A character of this size is about a twentieth of an inch wide.
    lines = textwrap.wrap(text.replace(" %", "\N{NO-BREAK SPACE}%"), round(19 * figure.get_figwidth() / enlarged()))
    grown = len(lines) - max(ROOM, figure.get_supxlabel().count("\n") + 1)
    figure.set_figheight(figure.get_figheight() + LINE * enlarged() * max(0, grown))
    figure.supxlabel("\n".join(lines), fontsize=points(6.5), color="#444444")


def without_note(figure: Figure) -> None:
    """Take the lines below a figure and their room away; its caption still has them."""
    text = figure.get_supxlabel()
    if text:
        figure.set_figheight(figure.get_figheight() - LINE * enlarged() * (text.count("\n") + 1))
        figure.supxlabel(text, visible=False, in_layout=False)


def record(ax: Axes, kind: str, series: ArrayLike = "", **columns: ArrayLike) -> None:
    """Hand over numbers that a panel draws: x, y, low, high, text, or a panel's own name; of one length or single."""
    parts = np.broadcast_arrays(*(np.atleast_1d(values) for values in columns.values()))
    frame = pd.DataFrame({"series": series, "kind": kind, **dict(zip(columns, parts, strict=True))})
    HANDED_OVER.setdefault(ax, []).append(frame)


def numbers(figure: Figure) -> pd.DataFrame:
    """The numbers that a figure draws, a row a mark: panel, xlabel, ylabel, series, kind, x, y, low, high, text.

    kind: ``line`` and ``scatter``, of which low and high are y's limits; ``bin``, of which they are the edges
    along x; ``interval``, of which they are x's limits; ``text``, such as a number in a picture's corner.
    Raises UserError for a figure that hands nothing over, such as a plugin's.
    """
    rows: list[dict[str, Any]] = []
    for place, ax in enumerate(figure.axes, 1):
        panel = " ".join(ax.get_title().split()) or f"panel {place}"
        head = {"panel": panel, "xlabel": _label(ax, "x"), "ylabel": _label(ax, "y")}
        rows += [{**head, **row} for frame in HANDED_OVER.get(ax, ()) for row in frame.to_dict("records")]
    if not rows:
        raise UserError("the figure hands over no numbers; it may with record(ax, …) of gradlens.plotting.panels")
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _label(ax: Axes, along: str) -> str:
    """The axis' label, or that of the panel which it is shared with."""
    siblings = (ax.get_shared_x_axes() if along == "x" else ax.get_shared_y_axes()).get_siblings(ax)
    own = getattr(ax, f"get_{along}label")()
    found = own or next((text for s in siblings if (text := getattr(s, f"get_{along}label")())), "")
    return " ".join(str(found).split())


def curve(
    ax: Axes, series: str, x: ArrayLike, y: ArrayLike, low: Any = np.nan, high: Any = np.nan, **look: Any
) -> Line2D:
    """A line ``(N,)`` with a band where its limits are known; what is missing is passed over."""
    known = np.isfinite(np.asarray(y))
    x, y, low, high = (values[known] for values in np.broadcast_arrays(x, y, low, high))
    # A line of one point would not be seen.
    (line,) = ax.plot(x, y, label=series, **{"marker": "o" if known.sum() == 1 else "", "ms": 3, **look})
    if np.isfinite(low).any():
        ax.fill_between(x, low, high, color=line.get_color(), alpha=0.18, lw=0)
    record(ax, "line", series, x=x, y=y, low=low, high=high)
    return line


def interval(ax: Axes, series: str, y: ArrayLike, estimate: Any, text: str = "", **look: Any) -> Line2D:
    """Marks at ``(value, low, high)``, each single or ``(N,)``, along x, on the lines of known intervals."""
    x, low, high = estimate
    ax.hlines(y, low, high, color=look["color"])
    (marks,) = ax.plot(x, y, ls="", label=series, **look)
    record(ax, "interval", series, x=x, y=y, low=low, high=high, text=text)
    return marks


def need_columns(runs: Sequence[Run], columns: Sequence[str], analyzer: str) -> None:
    """Refuse runs that lack the numbers which a figure draws, and say what measures them."""
    for run in runs:
        for name in columns:
            if name not in run.samples:
                raise UserError(f"run {run.label} has no column '{name}'; measure it: {command_for(run, analyzer)}")
            if not pd.api.types.is_numeric_dtype(run.samples[name]):
                raise UserError(f"column '{name}' of run {run.label} holds text; wanted numbers: analyze again")


def need_array(run: Run, name: str) -> NDArray:
    """An array of a run, or what measures it; refused when rows were left out, which a total cannot follow."""
    if name in run.arrays and len(run.samples) < run.summary.get("images", 0):
        raise UserError(f"'{name}' is a total over all images of run {run.label}, not of some; leave the condition out")
    if name not in run.arrays:
        command = command_for(run, name.partition("/")[0])
        raise UserError(f"run {run.label} has no array '{name}'; measure it: {command}")
    return run.arrays[name]


def one_setting(runs: Sequence[Run], analyzer: str, array: str) -> str:
    """The one setting that all runs have; refuses runs without it, with several, or with different ones."""
    found = [_settings(run, analyzer, array) for run in runs]
    for run, settings in zip(runs, found, strict=True):
        if not settings:
            need_array(run, f"{analyzer}/{array}")
    common = [name for name in found[0] if all(name in settings for settings in found)]
    if analyzer in common or len(common) == 1:
        return analyzer if analyzer in common else common[0]
    said = "; ".join(f"{run.label} {', '.join(settings)}" for run, settings in zip(runs, found, strict=True))
    raise UserError(f"the runs do not share one setting of {analyzer} ({said}); analyze them with the same parameters")


def _settings(run: Run, analyzer: str, array: str) -> list[str]:
    names = (name.removesuffix(f"/{array}") for name in run.arrays if name.endswith(f"/{array}"))
    return [name for name in names if Name.parse(name).stem == analyzer]


def command_for(run: Run, analyzer: str) -> str:
    """The line that measures what this run does and the analyzer's numbers too, as far as the run recorded it."""
    model, data = run.provenance.get("load_model") or {}, run.provenance.get("load_data") or {}
    known = [Name.parse(name).spec for name in run.provenance.get("analyzers") or ()]
    measured, held = run.provenance.get("images"), run.provenance.get("source_images")
    if "limit" not in data and measured and held and measured < held:
        data = {**data, "limit": measured}
    words = [
        *("gradlens", "analyze", str(model.get("spec", "CKPT")), *_flags(model, MODEL_FLAGS)),
        *("--data", str(data.get("spec", "DATA")), *_flags(data, DATA_FLAGS)),
        *("--analyzers", ",".join(dict.fromkeys([*known, analyzer]))),
    ]
    return shlex.join(words)


def _flags(options: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    words: list[str] = []
    for name in names:
        value = options.get(name)
        if value is None or value is False or value == DEFAULTS.get(name):
            continue
        words.append("--data-dir" if name == "root" else f"--{name.replace('_', '-')}")
        words += [] if value is True else [str(v) for v in value] if isinstance(value, list | tuple) else [str(value)]
    return words
