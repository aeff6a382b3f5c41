"""How each run looks, which is the same in every figure: it belongs to the run's label, not to its place."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gradlens.plotting.style import COLORS
from gradlens.runs.history import History
from gradlens.runs.record import Run

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")
STYLES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))


class Look(NamedTuple):
    """What tells a run from others: no two have one colour and one line style, nor one marker, up to 28."""

    color: str
    marker: str
    style: Any
    group: str | None = None


def looks(runs: Sequence[Run] | Sequence[History]) -> list[Look]:
    """A look for each run: what its manifest states, else what its label's hash picks from the palette.

    A label takes the nearest free place where another one has its colour, whatever order the runs come in.
    """
    shown = {run.label: display_of(run) for run in runs}
    slots: dict[str, int] = {}
    for label in sorted(shown, key=lambda name: (shown[name].get("color") not in COLORS, name)):
        slots[label] = _free_slot(label, shown[label].get("color"), slots.values())
    found: dict[str, Look] = {}
    for label, slot in slots.items():
        color = shown[label].get("color") or COLORS[slot % len(COLORS)]
        alike = sum(look.color == color for look in found.values())
        style = shown[label].get("style") or STYLES[alike % len(STYLES)]
        marker = shown[label].get("marker") or MARKERS[slot % len(MARKERS)]
        found[label] = Look(color, marker, style, shown[label].get("group"))
    return [found[run.label] for run in runs]


def display_of(run: Run | History) -> Mapping[str, Any]:
    """What the run's manifest said of its look: label, group, order, color, …"""
    return (run.provenance.get("model") or {}).get("display") or {}


def dressed(runs: Sequence[Any]) -> list[Any]:
    """The same runs, each keeping the look that it has among them when some are left out."""
    pairs = zip(runs, looks(runs), strict=True)
    return [run.displayed(color=look.color, marker=look.marker, style=look.style) for run, look in pairs]


def _free_slot(label: str, color: str | None, taken: Any) -> int:
    """A place in the endless row of palettes: within the first of them if it can be."""
    if color in COLORS:
        wanted = [COLORS.index(color)]
    else:
        # Black, the last, looks like an axis or a reference: only when the others are taken.
        bright, first = len(COLORS) - 1, int(hashlib.sha256(label.encode()).hexdigest(), 16)
        wanted = [*((first + k) % bright for k in range(bright)), bright]
    places = (turn * len(COLORS) + place for turn in itertools.count() for place in wanted)
    return next(place for place in places if place not in taken)
