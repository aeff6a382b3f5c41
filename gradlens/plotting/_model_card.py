from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting._channel_distribution import channel_distribution
from gradlens.plotting._conditional_medians import conditional_medians
from gradlens.plotting._edge_concentration import MEASURES, draw_measure, edge_profile
from gradlens.plotting._gradient_norm_distribution import gradient_norm_distribution
from gradlens.plotting.panels import HANDED_OVER, counted, footnote, is_wide, need_columns, record, short
from gradlens.plotting.pictures import class_of, common_examples, corner, example, heading, in_gray, picture
from gradlens.plotting.style import MUTED, enlarged, points
from gradlens.runs.readings import readings
from gradlens.runs.record import Run

# Side of a picture at most, and heights of the other panels, of a table a line, in inches.
PICTURE, HEIGHTS = 0.9, {"curves": 1.6, "edges": 0.9, "table": 0.16}
NOTE = "gradients: one scale an image, its 99 % quantile of |g|; gray halves: null, the edges of other images"
# Rows of numbers in a block.
ROWS = 8
Panel = Callable[[Run, Axes], object]


@figure
def model_card(runs: Sequence[Run], images: int = 6) -> Figure:
    """One model's gradients on one page: examples, size, channels, edges beside their null, groups, numbers.

    A panel whose numbers were not measured says which analyzer measures them.
    """
    if len(runs) != 1:
        raise UserError(f"model_card is the page of one model, and {len(runs)} runs are given; draw one for each")
    run, width = runs[0], mpl.rcParams["figure.figsize"][0]
    rows = _rows(run, 2 if is_wide() else 1)
    told = 1 + min(ROWS, len(headline_rows(run)))
    # A table is as high as its lines.
    heights = [_height(run, images, width)]
    heights += [enlarged() * HEIGHTS[kind] * (told if kind == "table" else 1) for kind, _ in rows]
    drawn = Figure(figsize=(width, sum(heights) + 0.5), layout="constrained")
    grid = drawn.add_gridspec(len(heights), 1, height_ratios=heights)
    _gallery(drawn, grid[0], run, images)
    for k, (_, panels) in enumerate(rows, 1):
        _panels(drawn, grid[k], run, panels)
    drawn.suptitle(_title(run), fontsize=points(8), ha="left", x=0.01)
    footnote(drawn, NOTE, runs)
    return drawn


def _height(run: Run, images: int, width: float) -> float:
    """Of two rows of pictures that stand beside each other, and of their names."""
    kept = max(1, min(images, len(run.examples.get("index", ()))))
    return 2 * min(PICTURE, 0.95 * width / kept) + 0.3 * enlarged()


def _rows(run: Run, across: int) -> list[tuple[str, Sequence[Panel]]]:
    """The panels below the pictures, so many beside each other; small ones twice as many."""
    edges, told = [_edges(column) for column in MEASURES], headline_rows(run)
    tables = [_table(told[k : k + ROWS]) for k in range(0, max(len(told), ROWS * across), ROWS)]
    curves, more = [_size, _channels], [_profile, _medians]
    groups = (("curves", curves, 1), ("edges", edges, 2), ("curves", more, 1), ("table", tables, 1))
    rows: list[tuple[str, Sequence[Panel]]] = []
    for kind, panels, small in groups:
        step = across * small
        rows += [(kind, panels[k : k + step]) for k in range(0, len(panels), step)]
    return rows


def _gallery(drawn: Figure, place: SubplotSpec, run: Run, images: int) -> None:
    """Images above their gradients."""
    try:
        chosen = common_examples([run], images)
    except UserError as error:
        _say(drawn.add_subplot(place), str(error))
        return
    axes = place.subgridspec(2, len(chosen)).subplots(squeeze=False)
    for above, below, index in zip(*axes, chosen, strict=True):
        image, gradient = example(run, index)
        picture(above, image)
        heading(above, class_of(run, index))
        picture(below, in_gray(gradient))
        size = f"L1 {short(np.abs(gradient).sum())}"
        corner(below, size)
        record(below, "text", run.label, panel=f"image {index}", text=size)


def _panels(drawn: Figure, place: SubplotSpec, run: Run, panels: Sequence[Panel]) -> None:
    """Panels side by side; where numbers are missing, what measures them, once if all miss theirs."""
    grid, failed = place.subgridspec(1, len(panels)), dict[Axes, str]()
    for k, panel in enumerate(panels):
        ax = drawn.add_subplot(grid[k])
        try:
            panel(run, ax)
        except UserError as error:
            failed[ax] = str(error)
    if len(failed) == len(panels):
        for ax in failed:
            ax.remove()
        failed = {drawn.add_subplot(place): next(iter(failed.values()))}
    for ax, text in failed.items():
        ax.clear()
        HANDED_OVER.pop(ax, None)
        _say(ax, text)


def _say(ax: Axes, text: str) -> None:
    ax.set_axis_off()
    place = ax.get_subplotspec()
    columns = place.get_gridspec().ncols if place else 1
    # Characters of this size that fit into an inch, with some room at the sides.
    lines = textwrap.wrap(text, int(16 * mpl.rcParams["figure.figsize"][0] / columns / enlarged()))
    said = ax.text(
        0.5, 0.5, "\n".join(lines), transform=ax.transAxes, ha="center", va="center", fontsize=points(6.5), color=MUTED
    )
    said.set_in_layout(False)


def _size(run: Run, ax: Axes) -> None:
    gradient_norm_distribution([run], ax, by="correct" if "correct" in run.samples else "all")
    ax.set_xlabel("L1 norm (nats per unit pixel)")


def _channels(run: Run, ax: Axes) -> None:
    channel_distribution([run], ax)
    ax.set_title("")


def _edges(column: str) -> Callable[[Run, Axes], None]:
    def panel(run: Run, ax: Axes) -> None:
        need_columns([run], [column, f"{column}_null"], "edge_concentration")
        draw_measure(ax, [run], column)
        ax.tick_params(labelleft=False)

    return panel


def _profile(run: Run, ax: Axes) -> None:
    edge_profile([run], ax)
    ax.legend(loc="lower right")


def _medians(run: Run, ax: Axes) -> None:
    conditional_medians([run], ax)
    # The unit is that of the panel above, and the names of the groups leave little room.
    ax.set_xlabel(ax.get_xlabel().replace(" (nats per unit pixel)", "").replace("\n(nats per unit pixel)", ""))


def _table(rows: Sequence[tuple[str, str, str]]) -> Panel:
    """Titles, values and intervals as three columns of text."""

    def panel(_: Run, ax: Axes) -> None:
        ax.set_axis_off()
        columns = zip(("", "", "95 % interval" if rows else ""), *rows, strict=True)
        for lines, x, align in zip(columns, (0, 0.62, 0.97), ("left", "right", "right"), strict=True):
            ax.text(
                x, 1, "\n".join(lines), transform=ax.transAxes, ha=align, va="top", fontsize=points(6), linespacing=1.6
            )
        record(ax, "text", [row[0] for row in rows], text=[" ".join(row[1:]).strip() for row in rows])

    return panel


def headline_rows(run: Run) -> list[tuple[str, str, str]]:
    """Title, value and 95 % interval of accuracy and of what the analyzers read first."""
    rows = []
    for reading in readings([run]):
        value, low, high, _ = reading.values[0]
        # Those that belong to the number above them are left to the tables.
        if reading.known and not reading.depth:
            limits = f"{short(low)} … {short(high)}" if math.isfinite(low) else ""
            rows.append((reading.title.partition(" [")[0], short(value), limits))
    return rows


def _title(run: Run) -> str:
    model = run.provenance.get("model") or {}
    facts = [model.get("arch"), run.provenance.get("activation"), f"weights {run.provenance.get('weights', 'unknown')}"]
    data = f" on {run.summary['data']}" if run.summary.get("data") else ""
    return f"{run.label}{data}, {counted(len(run.samples))}\n{', '.join(str(f) for f in facts if f)}"
