"""Pictures to look at in a session: images with their gradients and edges. Torch is left to who has a probe."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens._notebook import displayable
from gradlens._results import Run
from gradlens._table import number
from gradlens._types import UserError
from gradlens.plotting import paper_style
from gradlens.plotting._panels import class_of, corner, example, footnote, picture
from gradlens.plotting._style import MUTED

if TYPE_CHECKING:
    from torch import Tensor

    from gradlens._probe import Probe

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
            _show(pair[0], image, heading(run, row))
            corner(pair[0], f"{row['index']}")
            _show(pair[1], in_gray(gradient), f"{shown} {number(row[shown])}")
        footnote(drawn, f"{run.label}; in the corner the index; {SCALE}")
    return displayable(drawn)


def look_at(probe: Probe, of: str = "loss", edges: str = "canny", images: int = PAGE) -> Figure:
    """A row an image of a probe: the image, its gradient, its edges."""
    pixels = _channels_last(probe.batch.image[:images])
    gradients = _channels_last(_scaled(probe, of)[0][:images])
    maps = _channels_last(probe.edges(edges)[:images])
    with paper_style():
        drawn = Figure(figsize=(3 * PANEL, len(pixels) * (PANEL + HEADING) + FOOT), layout="compressed")
        axes = drawn.subplots(len(pixels), 3, squeeze=False)
        for k, row in enumerate(axes):
            _show(row[0], pixels[k], _said(probe, k))
            _show(row[1], in_gray(gradients[k]), f"gradient of {of}, L1 {_size(probe, of, k)}")
            # Dark on light, as edges are drawn.
            _show(row[2], 1 - maps[k] / (maps[k].max() or 1.0), edges)
            row[2].spines[:].set(visible=True, color=MUTED)
        left = len(probe.batch) - len(pixels)
        footnote(drawn, SCALE + (f"; {left:,} more images" if left > 0 else ""))
    return displayable(drawn)


def in_gray(gradient: NDArray) -> NDArray:
    """A signed gradient ``(H, W, C)`` for display in [0, 1]: one half is zero, the 99 % quantile of |g| the end."""
    limit = float(np.quantile(np.abs(gradient), 0.99)) or float(np.abs(gradient).max()) or 1.0
    return np.clip(0.5 + 0.5 * gradient / limit, 0, 1)


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


def _said(probe: Probe, k: int) -> str:
    """An image's label, prediction and loss."""
    names = getattr(getattr(probe.model, "card", None), "class_names", ())
    label, taken = (int(v[k]) for v in (probe.target, probe.prediction))
    label_name, taken_name = ((str(names[c]) if c < len(names) else str(c))[:LETTERS] for c in (label, taken))
    about = label_name if label == taken else f"{label_name} → {taken_name}"
    # Without a label, the target is the prediction.
    about = f"predicted {taken_name}" if probe.batch.target is None else about
    return f"{about}, loss {number(float(probe.loss[k].detach()))}"


def _size(probe: Probe, of: str, k: int) -> str:
    direction, scale = _scaled(probe, of)
    return number(float(direction[k].double().abs().sum()) * float(scale[k]))


def _scaled(probe: Probe, of: str) -> tuple[Tensor, Tensor]:
    """Direction and scale, of which the modes that train have the product only."""
    if probe.mode == "value":
        return probe.scaled_gradient(of)
    gradient = probe.gradient(of).detach()
    return gradient, gradient.new_ones(len(gradient))


def _channels_last(images: Tensor) -> NDArray:
    return images.detach().cpu().float().numpy().transpose(0, 2, 3, 1)


def _show(ax: Axes, pixels: NDArray, title: str) -> None:
    picture(ax, pixels[..., 0] if pixels.shape[-1] == 1 else pixels, vmin=0, vmax=1, cmap="gray")
    ax.set_axis_on()
    ax.set_title(title, fontsize=7)
