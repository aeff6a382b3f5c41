from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from gradlens.core.names import unknown
from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting.panels import CHARACTERS, cell_width, footnote, is_wide, legend, one_panel, record
from gradlens.plotting.style import COLORS, MUTED, enlarged, looks
from gradlens.plotting.style import points as points_of
from gradlens.runs.record import Run
from gradlens.stats.association import FEWEST_FAMILIES, FEWEST_MODELS, family_bootstrap, spearman, spearman_within

# Families differ in shape too, since a print or an eye may not tell them by colour.
MARKERS = "osD^vP*"
WIDE = 20
# Of a name beside its mark: offsets in points with their alignment, the most readable first.
PLACES = (
    *((4, 0, "left", "center"), (-4, 0, "right", "center"), (0, 4, "center", "bottom"), (0, -4, "center", "top")),
    *((3, 3, "left", "bottom"), (3, -3, "left", "top"), (-3, 3, "right", "bottom"), (-3, -3, "right", "top")),
)
MARK = 3.0


@figure
def leaderboard_scatter(
    runs: Sequence[Run], ax: Axes | None = None, statistic: str = "l1_mean", against: str = "top1"
) -> Axes:
    """One number of the summary against another, a mark a model, a shape a family; a colour a model, of many a family.

    The title gives Spearman's ρ with its 95 % interval (bootstrap over families, since models of one family
    are not independent) and ρ within families: two clusters alone make ρ large. statistic, against: keys of
    ``summary``; ``robust_accuracy`` stands for the only key that begins so.
    """
    names = [_key(runs, key) for key in (statistic, against)]
    values = np.array([[_number(run, name) for name in names] for run in runs])
    known = np.isfinite(values).all(1)
    if not known.any():
        raise UserError(f"no run has both {names[0]} and {names[1]}; give analyzed runs that have them")
    shown = [run for run, there in zip(runs, known, strict=True) if there]
    points, families = values[known], np.array([family_of(run) for run in shown])
    own, ax = one_panel(ax)
    colors = np.array([look.color for look in looks(shown)] if len(shown) <= len(COLORS) else _by_family(families))
    for k, family in enumerate(dict.fromkeys(families)):
        for color in dict.fromkeys(colors[families == family]):
            x, y = points[(families == family) & (colors == color)].T
            ax.plot(x, y, MARKERS[k % len(MARKERS)], color=color, ms=4.5, mew=0, label=family)
    record(ax, "scatter", families, x=points[:, 0], y=points[:, 1], text=[run.label for run in shown])
    _finish(own, ax, [_title(shown, name) for name in names], points, families)
    note = _note(families, [run.label for run, there in zip(runs, known, strict=True) if not there])
    footnote(own, note)
    left_out = place_labels(ax, points, [run.label for run in shown])
    if left_out:
        footnote(own, f"{note}; {left_out} name{'s' * (left_out != 1)} left out for want of room")
    return ax


def _key(runs: Sequence[Run], name: str) -> str:
    """A key of the summaries, or the one that begins with the name and a bracket."""
    keys = list(dict.fromkeys(key for run in runs for key in run.summary))
    begun = [key for key in keys if key.startswith(f"{name}[")]
    if name in keys or len(begun) == 1:
        return name if name in keys else begun[0]
    if begun:
        raise UserError(f"'{name}' may be {' or '.join(begun)}; give one of them in Python, or runs of one attack")
    raise UserError(unknown("number of the runs' summaries", name, keys))


def _by_family(families: NDArray) -> list[str]:
    """Of more models than colours, a colour a family."""
    known = list(dict.fromkeys(families))
    return [COLORS[known.index(family) % len(COLORS)] for family in families]


def _number(run: Run, name: str) -> float:
    value = run.summary.get(name)
    return float(value) if isinstance(value, int | float) else math.nan


def _title(runs: Sequence[Run], key: str) -> str:
    """What tables call a number, unless that is the last word under another."""
    titles = {k: title for run in runs for title, k, _ in run.readings if not title.startswith(" ")}
    return {"top1": "top-1 accuracy (%)", **titles}.get(key, key)


def _finish(own: Figure | None, ax: Axes, titles: Sequence[str], points: NDArray, families: NDArray) -> None:
    x, y = points.T
    if x.min() > 0 and x.max() > WIDE * x.min():
        ax.set_xscale("log")
    ax.set(xlabel=titles[0], ylabel=titles[1])
    ax.margins(0.12)
    title = textwrap.fill(_correlation(x, y, families), int(CHARACTERS * (cell_width(ax) - 0.4) / enlarged()))
    ax.set_title(title, fontsize=points_of(7), loc="left")
    if len(set(families)) > 1:
        legend(own, ax, _shapes(ax), **({"title": "family", "alignment": "left"} if is_wide() else {}))


def _shapes(ax: Axes) -> list[Line2D]:
    """A mark a family, gray where its models have colours of their own."""
    marks: dict[str, list[Line2D]] = {}
    for line in ax.lines:
        marks.setdefault(str(line.get_label()), []).append(line)
    look: dict[str, Any] = {"ls": "", "color": MUTED, "mew": 0, "ms": 4.5}
    return [
        line if not more else Line2D([], [], marker=line.get_marker(), label=family, **look)
        for family, (line, *more) in marks.items()
    ]


def _correlation(x: NDArray, y: NDArray, families: NDArray) -> str:
    rho, (low, high), within = spearman(x, y), family_bootstrap(x, y, families), spearman_within(x, y, families)
    if not math.isfinite(rho):
        return f"no rank correlation: it needs {FEWEST_MODELS} models that differ"
    limits = f" [{low:.2f}, {high:.2f}]" if math.isfinite(low) else f" (an interval needs {FEWEST_FAMILIES} families)"
    said = f"ρ = {rho:.2f}{limits}" + (f", within families {within:.2f}" if math.isfinite(within) else "")
    return said.replace("-", "−")


def _note(families: NDArray, absent: Sequence[str]) -> str:
    models, groups = len(families), len(set(families))
    counted = f"n = {models} model{'s' * (models != 1)} of {groups} famil{'ies' if groups != 1 else 'y'}"
    said = f"{counted}; ρ: Spearman's, 95 % interval by bootstrap over families"
    return f"{said}; a number is missing for {', '.join(absent)}" if absent else said


def place_labels(ax: Axes, points: NDArray, texts: Sequence[str], size: float = 6) -> int:
    """Write each text beside its point ``(N, 2)`` where there is room; returns how many found none.

    Call it last: room is what the axes, the marks and the texts so far leave.
    """
    drawn = ax.get_figure(root=True)
    assert drawn is not None
    drawn.draw_without_rendering()
    pixels = MARK * drawn.dpi / 72
    taken = [Bbox([(x - pixels, y - pixels), (x + pixels, y + pixels)]) for x, y in ax.transData.transform(points)]
    left_out = 0
    for k, text in enumerate(texts):
        others = taken[:k] + taken[k + 1 :]
        box = _place(ax, points[k], text, size, others)
        left_out += box is None
        taken += [box] if box else []
    return left_out


def _place(ax: Axes, point: NDArray, text: str, size: float, taken: Sequence[Bbox]) -> Bbox | None:
    """The box of the text at the first free place; None, and nothing written, where there is none."""
    for dx, dy, horizontal, vertical in PLACES:
        label = ax.annotate(
            text,
            (point[0], point[1]),
            (dx, dy),
            textcoords="offset points",
            fontsize=points_of(size),
            ha=horizontal,
            va=vertical,
        )
        # Else the layout would shrink the axes after the room was measured.
        label.set_in_layout(False)
        box = label.get_window_extent()
        inside = ax.bbox.contains(box.x0, box.y0) and ax.bbox.contains(box.x1, box.y1)
        if inside and not any(box.overlaps(other) for other in taken):
            return box
        label.remove()
    return None


def family_of(run: Run) -> str:
    """The manifest's group, else the letters that an architecture's name begins with: resnet, swin, vit."""
    model = run.provenance.get("model") or {}
    group = (model.get("display") or {}).get("group")
    arch = str(run.provenance.get("arch") or model.get("arch") or run.label)
    letters = re.match(r"[a-z]+", arch.rpartition(":")[2].lower())
    return str(group or (letters.group() if letters else arch))
