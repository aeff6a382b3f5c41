"""Pictures of images and of their gradients, in which gray is zero: the galleries' grid, and a session's strip."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens.core.notebook import displayable
from gradlens.core.numbers import number
from gradlens.core.types import UserError
from gradlens.plotting.panels import CHARACTERS, cell_width, footnote, new_figure, record
from gradlens.plotting.style import as_written, enlarged, paper_style, points
from gradlens.runs.record import Run

# Sides of a gallery's pictures, in inches.
SMALLEST_CELL, LARGEST_CELL = 0.85, 1.15
# Of a session's: inches, pictures a page of a notebook, which is about nine inches wide, and letters of a heading.
CELL, PANEL, HEADING, FOOT = 1.15, 1.7, 0.2, 0.25
PAGE, NARROWEST = 8, 2.4
LETTERS = 18
SCALE = "gray is zero; each gradient on its own scale, the 99 % quantile of |g|"


def scale_of(*gradients: NDArray) -> float:
    """The size that saturates: the largest of their 99 % quantiles, of a sparse one its largest value; 1 for zeros.

    So a gradient that is zero at 99 % of the pixels is seen, and not blank gray.
    """
    sizes = [np.abs(gradient) for gradient in gradients]
    return max((float(np.quantile(size, 0.99)) or float(size.max(initial=0.0)) for size in sizes), default=0.0) or 1.0


def in_gray(gradient: NDArray, scale: float | None = None) -> NDArray:
    """A signed gradient as pixels in [0, 1], ``0.5 + 0.5 g / scale``; scale: by default its own."""
    return np.clip(0.5 + 0.5 * gradient / (scale or scale_of(gradient)), 0, 1)


def example(run: Run, index: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """One kept image ``(H, W, 3)`` and its gradient ``(H, W, 3)`` per unit pixel."""
    row = int(np.flatnonzero(run.examples["index"] == index)[0])
    gradient = run.examples["gradient"][row].astype(np.float64) * run.examples["scale"][row]
    return run.examples["image"][row].astype(np.float32).transpose(1, 2, 0), gradient.transpose(1, 2, 0)


def common_examples(runs: Sequence[Run], images: int) -> list[int]:
    """Indices of images whose gradients every run keeps, of those that its rows still name; first one of each class."""
    kept = [paths_of(run, run.examples.get("index", np.array([], int))) for run in runs]
    common = _by_class(runs[0], [i for i in kept[0] if all(i in k for k in kept)])[:images]
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


def _by_class(run: Run, indices: Sequence[int]) -> list[int]:
    """The first image of each class, then the second of each, and so on."""
    seen: Counter[str] = Counter()
    turns = []
    for index in indices:
        name = class_of(run, index)
        turns.append(seen[name])
        seen[name] += 1
    return [index for _, index in sorted(zip(turns, indices, strict=True), key=lambda pair: pair[0])]


def paths_of(run: Run, indices: NDArray) -> dict[int, str]:
    """The path of each image by its index, of those that the rows still name."""
    rows = run.samples.set_index("index")["path"] if {"index", "path"} <= set(run.samples) else {}
    return {i: str(rows[i]) for i in indices.tolist() if i in rows}


def class_of(run: Run, index: int) -> str:
    """The name of an image's class, as model or data know it, else as its folder is called."""
    row = run.samples[run.samples["index"] == index]
    if row.empty:
        return ""
    known = class_names(run).get(int(row["label"].iloc[0])) if "label" in row else None
    return known or _folder(str(row["path"].iloc[0]))


def class_names(run: Run) -> dict[int, str]:
    """The names of classes by number: as the data or the model have them, else as the images' folders are called.

    Folders count where each class has one of its own.
    """
    stated = getattr(run.data, "class_names", ()) or (run.provenance.get("model") or {}).get("class_names") or ()
    if stated or not {"label", "path"} <= set(run.samples):
        return {k: str(name) for k, name in enumerate(stated)}
    folders = pd.DataFrame({"label": run.samples["label"], "folder": run.samples["path"].astype(str).map(_folder)})
    pairs = folders.drop_duplicates()
    alike = pairs["label"].duplicated().any() or pairs["folder"].duplicated().any() or (pairs["folder"] == "").any()
    return {} if alike else {int(label): folder for label, folder in pairs.itertuples(index=False)}


def _folder(path: str) -> str:
    return path.rpartition("/")[0].rpartition("/")[2]


def picture(ax: Axes, pixels: NDArray, **options: Any) -> None:
    """An image without ticks or frame; one of a single channel in gray."""
    ax.imshow(pixels, **{"cmap": "gray", "vmin": 0, "vmax": 1, **options})
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def corner(ax: Axes, text: str) -> None:
    """A small readable label in the lower left corner of a picture."""
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "boxstyle": "square,pad=0.15"}
    size = min(points(6), 90 * cell_width(ax) / max(len(text), 1))
    ax.text(0.02, 0.03, text, transform=ax.transAxes, fontsize=size, va="bottom", ha="left", bbox=box, in_layout=False)


def heading(ax: Axes, *lines: str) -> None:
    """A title over a narrow picture, its lines broken where they are too long for it."""
    ax.set_title("\n".join(_wrapped(ax, line) for line in lines), fontsize=points(7))


def gallery(
    runs: Sequence[Run], chosen: Sequence[int], image: Callable[[int], NDArray], cells: Callable, note: str
) -> Figure:
    """A row an image: the image, and beside it for each run a picture and the text in its corner.

    chosen: indices of images. image: an index → its pixels. cells: an index → ``(pixels, text)`` for each run.
    """
    names = ["image", *(run.label for run in runs)]
    drawn, rows = example_grid([class_of(runs[0], index) for index in chosen], names)
    for row, index in zip(rows, chosen, strict=True):
        picture(row[0], image(index))
        for ax, run, (pixels, text) in zip(row[1:], runs, cells(index), strict=True):
            picture(ax, pixels)
            corner(ax, text)
            record(ax, "text", run.label, panel=f"image {index}", text=text)
    footnote(drawn, note)
    return drawn


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


def _wrapped(ax: Axes, text: str) -> str:
    """Lines that a panel has room for; names break behind their underscores too."""
    parts = textwrap.wrap(re.sub(r"([_./])", r"\1 ", text), max(5, int(CHARACTERS * cell_width(ax) / enlarged())))
    return "\n".join(re.sub(r"([_./]) ", r"\1", part) for part in parts)


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
            show(pair[0], image, _class_heading(run, row))
            corner(pair[0], f"{row['index']}")
            show(pair[1], in_gray(gradient), f"{shown} {number(row[shown])}")
        footnote(drawn, f"{run.label}; in the corner the index; {SCALE}")
        as_written(drawn)
    return displayable(drawn)


def _class_heading(run: Run, row: pd.Series) -> str:
    """The class of an image, and what it is taken for where that is another."""
    names = class_names(run)
    label, taken = (
        "?" if pd.isna(row[which]) else names.get(int(row[which]), str(int(row[which])))[:LETTERS]
        for which in ("label", "prediction")
    )
    return label if row["label"] == row["prediction"] else f"{label} → {taken}"


def show(ax: Axes, pixels: NDArray, title: str) -> None:
    picture(ax, pixels[..., 0] if pixels.shape[-1] == 1 else pixels, vmin=0, vmax=1, cmap="gray")
    ax.set_axis_on()
    ax.set_title(title, fontsize=points(7))
