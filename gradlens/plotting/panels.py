"""What figures share: finding columns and examples in runs, and drawing small pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens.core.names import Name
from gradlens.core.types import UserError
from gradlens.plotting._looks import looks
from gradlens.plotting._needs import command_for
from gradlens.runs.record import Run

# More curves than this in one panel hide each other.
MOST_IN_ONE = 4
# No panel of several is narrower than this, in inches.
NARROWEST = 1.6
# Of small type that fit into an inch.
CHARACTERS = 16
# Sides of pictures, in inches.
SMALLEST_CELL, LARGEST_CELL = 0.85, 1.15


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


def small_multiples(count: int, height: float = 1.0, rest: float = 0.9, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels in as many equal rows as its width needs; the scales are shared."""
    full, usual = mpl.rcParams["figure.figsize"]
    rows = -(-count // max(1, int(full // NARROWEST)))
    columns = -(-count // rows)
    # One row is as high as any other figure.
    row = height if rows > 1 else max(height, usual - rest)
    figure, axes = new_figure(rows, columns, height=row, rest=rest, sharex=True, sharey=True, **options)
    for ax in axes.flat[count:]:
        ax.set_visible(False)
    for ax in axes.flat[max(0, count - columns) : count]:
        ax.tick_params(labelbottom=True)
    return figure, list(axes.flat[:count])


def example_grid(classes: Sequence[str], names: Sequence[str]) -> tuple[Figure, list[NDArray]]:
    """A figure of square pictures, and for each image its axes, one for each of ``names``.

    A row an image, two or more in a row where they fit; where pictures would get tiny, a column an image.
    """
    full = mpl.rcParams["figure.figsize"][0]
    if full / len(names) < SMALLEST_CELL / 1.4:
        figure, axes = new_figure(len(names), len(classes), cell=LARGEST_CELL, rest=0.4)
        for ax, name in zip(axes[0], classes, strict=True):
            heading(ax, name)
        for ax, name in zip(axes[:, 0], names, strict=True):
            ax.set_ylabel(_wrapped(ax, name))
        return figure, list(axes.T)
    rows = -(-len(classes) // max(1, int(full // (SMALLEST_CELL * len(names)))))
    blocks = -(-len(classes) // rows)
    figure, axes = new_figure(rows, blocks * len(names), cell=LARGEST_CELL, rest=0.4)
    places = [axes[k % rows, (k // rows) * len(names) :][: len(names)] for k in range(blocks * rows)]
    for k, place in enumerate(places):
        for ax, name in zip(place, names, strict=True):
            ax.set_visible(k < len(classes))
            if k % rows == 0:
                heading(ax, name)
        place[0].set_ylabel(classes[k] if k < len(classes) else "")
    return figure, list(places[: len(classes)])


def outer_labels(axes: Sequence[Axes], xlabel: str, ylabel: str) -> None:
    """Label small multiples where they end: below the last of each column, left of the first of each row."""
    columns = axes[0].get_gridspec().ncols  # type: ignore[union-attr]
    # Beside its neighbour's, a long label needs a second line for its unit.
    broken = xlabel.replace(" (", "\n(") if len(xlabel) > CHARACTERS * _cell(axes[0]) else xlabel
    for ax in axes[-columns:]:
        ax.set_xlabel(broken)
    for ax in axes[::columns]:
        ax.set_ylabel(ylabel)


def need_columns(runs: Sequence[Run], columns: Sequence[str], analyzer: str) -> None:
    """Refuse runs that lack the numbers which a figure draws, and say what measures them."""
    for run in runs:
        for name in columns:
            if name not in run.samples:
                raise UserError(f"run {run.label} has no column '{name}'; measure it: {command_for(run, analyzer)}")
            if not pd.api.types.is_numeric_dtype(run.samples[name]):
                raise UserError(f"column '{name}' of run {run.label} holds text; wanted numbers: analyze again")


def need_array(run: Run, name: str, analyzer: str) -> NDArray:
    """An array of a run, or what measures it; refused when rows were left out, which a total cannot follow."""
    if name in run.arrays and len(run.samples) < run.summary.get("images", 0):
        raise UserError(f"'{name}' is a total over all images of run {run.label}, not of some; leave the condition out")
    if name not in run.arrays:
        raise UserError(f"run {run.label} has no array '{name}'; measure it: {command_for(run, analyzer)}")
    return run.arrays[name]


def common_examples(runs: Sequence[Run], images: int) -> list[int]:
    """Indices of the first images whose gradients every run keeps, of those that its rows still name."""
    kept = [_kept(run) for run in runs]
    common = [i for i in kept[0] if all(i in k for k in kept)][:images]
    if not common:
        raise UserError("the runs keep no common example; make them with: gradlens examples CKPT… --images IDS -o RUN")
    for run, paths in zip(runs, kept, strict=True):
        other = next((i for i in common if paths[i] != kept[0][i]), None)
        if other is not None:
            raise UserError(
                f"image {other} is {kept[0][other]} in run {runs[0].label} and {paths[other]} in {run.label}; "
                "draw runs of the same data"
            )
    return common


def _kept(run: Run) -> dict[int, str]:
    """The path of each kept example by its index."""
    rows = run.samples.set_index("index")["path"] if {"index", "path"} <= set(run.samples) else {}
    return {i: str(rows[i]) for i in run.examples.get("index", np.array([], int)).tolist() if i in rows}


def example(run: Run, index: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """One kept image ``(H, W, 3)`` and its gradient ``(H, W, 3)`` per unit pixel."""
    row = int(np.flatnonzero(run.examples["index"] == index)[0])
    gradient = run.examples["gradient"][row].astype(np.float64) * run.examples["scale"][row]
    return run.examples["image"][row].astype(np.float32).transpose(1, 2, 0), gradient.transpose(1, 2, 0)


def colors_of(runs: Sequence[Run]) -> list[str]:
    """A colour for each run: the one its manifest gave it, else the one that the palette gives its label."""
    return [look.color for look in looks(runs)]


def class_of(run: Run, index: int) -> str:
    """The name of an image's class, as its path says it."""
    path = run.samples.loc[run.samples["index"] == index, "path"]
    return str(path.iloc[0]).rpartition("/")[0].rpartition("/")[2] if len(path) else ""


def picture(ax: Axes, pixels: NDArray, **options: Any) -> None:
    """An image without ticks or frame; one of a single channel in gray."""
    ax.imshow(pixels, **{"cmap": "gray", "vmin": 0, "vmax": 1, **options})
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def corner(ax: Axes, text: str) -> None:
    """A small readable label in the lower left corner of a picture."""
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "boxstyle": "square,pad=0.15"}
    size = min(6, 110 * _cell(ax) / max(len(text), 1))
    ax.text(0.02, 0.03, text, transform=ax.transAxes, fontsize=size, va="bottom", ha="left", bbox=box, in_layout=False)


def heading(ax: Axes, text: str) -> None:
    """A title over a narrow picture, broken where it is too long for it."""
    ax.set_title(_wrapped(ax, text), fontsize=7)


def _wrapped(ax: Axes, text: str) -> str:
    return "\n".join(textwrap.wrap(text, max(5, int(CHARACTERS * _cell(ax)))))


def _cell(ax: Axes) -> float:
    """The width in inches that a panel has at most."""
    grid = ax.get_gridspec()
    return ax.figure.get_figwidth() / (grid.ncols if grid else 1)  # type: ignore[union-attr]


def images_of(runs: Sequence[Run]) -> str:
    """How many images the runs have: ``n = 500 images``, or each run's number."""
    counts = [len(run.samples) for run in runs]
    if len(set(counts)) == 1:
        return f"n = {counts[0]:,} images" + (" each" if len(runs) > 1 else "")
    return "n: " + ", ".join(f"{run.label} {count:,}" for run, count in zip(runs, counts, strict=True)) + " images"


def footnote(figure: Figure | None, text: str) -> None:
    """Lines below a figure that state n, intervals, scales and what it leaves out, in parts between semicolons.

    None, which ``one_panel`` gives for a caller's axes, is left alone.
    """
    if figure is None:
        return
    # A character of this size is about a twentieth of an inch wide.
    lines = textwrap.wrap(text.replace(" %", "\N{NO-BREAK SPACE}%"), round(20 * figure.get_figwidth()))
    figure.supxlabel("\n".join(lines), fontsize=6.5, color="#444444")


def one_setting(runs: Sequence[Run], analyzer: str, array: str) -> str:
    """The one setting that all runs have; refuses runs without it, with several, or with different ones."""
    found = [_settings(run, analyzer, array) for run in runs]
    for run, settings in zip(runs, found, strict=True):
        if not settings:
            need_array(run, f"{analyzer}/{array}", analyzer)
    common = [name for name in found[0] if all(name in settings for settings in found)]
    if analyzer in common or len(common) == 1:
        return analyzer if analyzer in common else common[0]
    said = "; ".join(f"{run.label} {', '.join(settings)}" for run, settings in zip(runs, found, strict=True))
    raise UserError(f"the runs do not share one setting of {analyzer} ({said}); analyze them with the same parameters")


def _settings(run: Run, analyzer: str, array: str) -> list[str]:
    names = (name.removesuffix(f"/{array}") for name in run.arrays if name.endswith(f"/{array}"))
    return [name for name in names if Name.parse(name).stem == analyzer]
