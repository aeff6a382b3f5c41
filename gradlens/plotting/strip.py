"""Pictures to look at in a session: images with their gradients and edges. Torch is left to who has a probe."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens.core.notebook import displayable
from gradlens.core.numbers import number
from gradlens.core.types import UserError
from gradlens.plotting import paper_style
from gradlens.plotting.panels import class_of, corner, example, footnote, picture
from gradlens.plotting.signed import in_gray
from gradlens.runs.record import Run

# Inches; a page of a notebook is about nine wide.
CELL, PANEL, HEADING, FOOT = 1.15, 1.7, 0.2, 0.25
PAGE, NARROWEST = 8, 2.4
LETTERS = 18
SCALE = "gray is zero; each gradient on its own scale, the 99 % quantile of |g|"


def strip(run: Run, images: int, column: str | None = None) -> Figure:
    """The first rows of a run, an image a column: the image above its gradient, with class, index and number.

    column: the number to show, by default what the rows were ranked by, else l1.
    """
    rows = run.samples.head(images)
    if rows.empty:
        raise UserError(f"no image of {run.label} is left to show; take another condition")
    shown = column or run.ranked_by or ("l1" if "l1" in rows else "loss")
    across = min(len(rows), PAGE)
    down = -(-len(rows) // across)
    with paper_style():
        drawn = Figure(figsize=(max(CELL * across, NARROWEST), down * 2 * (CELL + HEADING) + FOOT), layout="compressed")
        axes = drawn.subplots(2 * down, across, squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        for k, (_, row) in enumerate(rows.iterrows()):
            pair = axes[2 * (k // across) : 2 * (k // across) + 2, k % across]
            image, gradient = example(run, int(row["index"]))
            show(pair[0], image, heading(run, row))
            corner(pair[0], f"{row['index']}")
            show(pair[1], in_gray(gradient), f"{shown} {number(row[shown])}")
        footnote(drawn, f"{run.label}; in the corner the index; {SCALE}")
    return displayable(drawn)


def heading(run: Run, row: pd.Series) -> str:
    """The class of an image, and what it is taken for where that is another."""
    label, taken = _class_name(run, row["label"], row["index"]), int(row["prediction"])
    if row["label"] == taken:
        return label
    others = run.samples.loc[run.samples["label"] == taken, "index"]
    return f"{label} → {_class_name(run, taken, others.iloc[0] if len(others) else None)}"


def _class_name(run: Run, label: int, index: int | None) -> str:
    """As the data call it, as the folder of one of its images does, else its number."""
    names = getattr(run.data, "class_names", ())
    if 0 <= label < len(names):
        return str(names[int(label)])[:LETTERS]
    found = class_of(run, index) if index is not None and "path" in run.samples else ""
    return (found or str(int(label)))[:LETTERS]


def show(ax: Axes, pixels: NDArray, title: str) -> None:
    picture(ax, pixels[..., 0] if pixels.shape[-1] == 1 else pixels, vmin=0, vmax=1, cmap="gray")
    ax.set_axis_on()
    ax.set_title(title, fontsize=7)
