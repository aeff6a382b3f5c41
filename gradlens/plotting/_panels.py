"""What figures share: finding columns and examples in runs, and drawing small pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens._results import Run
from gradlens._types import UserError
from gradlens.plotting._style import COLORS


def new_figure(rows: int, columns: int, cell: float | None = None, **options: Any) -> tuple[Figure, NDArray]:
    """A figure and its ``(rows, columns)`` axes, not registered with pyplot's window manager.

    cell: side of square cells in inches, at most; without it each row is as high as the style says.
    """
    full, height = plt.rcParams["figure.figsize"]
    side = min(cell or full, full / columns)
    size = (side * columns, side * rows) if cell else (full, height * rows)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def need_columns(runs: Sequence[Run], columns: Sequence[str], analyzer: str) -> None:
    """Refuse runs that lack what a figure draws, and say which analyzer gives it."""
    for run in runs:
        missing = [c for c in columns if c not in run.samples]
        if missing:
            raise UserError(f"run {run.label} has no column '{missing[0]}'; analyze with --analyzers {analyzer}")


def need_array(run: Run, name: str, analyzer: str) -> NDArray:
    if name not in run.arrays:
        raise UserError(f"run {run.label} has no array '{name}'; analyze with --analyzers {analyzer}")
    return run.arrays[name]


def common_examples(runs: Sequence[Run], images: int) -> list[int]:
    """Indices of the first images whose gradients every run keeps."""
    kept = [run.examples.get("index", np.array([], int)).tolist() for run in runs]
    common = [i for i in kept[0] if all(i in k for k in kept)][:images]
    if not common:
        raise UserError("the runs keep no common example; make them with: gradlens examples CKPT… --images IDS")
    return common


def example(run: Run, index: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """One kept image ``(H, W, 3)`` and its gradient ``(H, W, 3)`` per unit pixel."""
    row = int(np.flatnonzero(run.examples["index"] == index)[0])
    gradient = run.examples["gradient"][row].astype(np.float64) * run.examples["scale"][row]
    return run.examples["image"][row].astype(np.float32).transpose(1, 2, 0), gradient.transpose(1, 2, 0)


def colors_of(runs: Sequence[Run]) -> list[str]:
    """A colour for each run: the one its manifest gave it, else the palette's next."""
    shown = [(run.provenance.get("model") or {}).get("display") or {} for run in runs]
    return [display.get("color") or COLORS[i % len(COLORS)] for i, display in enumerate(shown)]


def class_of(run: Run, index: int) -> str:
    """The name of an image's class, as its path says it."""
    path = run.samples.loc[run.samples["index"] == index, "path"]
    return str(path.iloc[0]).rpartition("/")[0].rpartition("/")[2] if len(path) else ""


def picture(ax: Axes, pixels: NDArray, **options: Any) -> None:
    """An image without ticks or frame."""
    ax.imshow(pixels, **options)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def corner(ax: Axes, text: str) -> None:
    """A small readable label in the lower left corner of a picture."""
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "boxstyle": "square,pad=0.15"}
    ax.text(0.02, 0.03, text, transform=ax.transAxes, fontsize=6, va="bottom", ha="left", bbox=box)


def footnote(figure: Figure, text: str) -> None:
    """Lines below the figure that state how it was scaled or what it leaves out."""
    # A character of this size is about a twentieth of an inch wide.
    lines = textwrap.wrap(text, round(20 * figure.get_figwidth()))
    figure.supxlabel("\n".join(lines), fontsize=6.5, color="#444444")
