"""How figures look: a venue's width, type and colours, and one look a label, which is the same in every figure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.style
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis, Tick
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter, ScalarFormatter

from gradlens.core.fields import checked
from gradlens.core.names import unknown
from gradlens.core.types import UserError
from gradlens.runs.history import History
from gradlens.runs.manifest import RULES
from gradlens.runs.record import Run

# Column and text widths in inches, from the venues' style files.
VENUES = {
    "aaai": (3.3, 6.975),
    "aistats": (3.25, 6.75),
    "cvpr": (3.25, 6.875),
    "eccv": (4.8, 4.8),
    "iccv": (3.25, 6.875),
    "iclr": (5.5, 5.5),
    "icml": (3.25, 6.75),
    "jmlr": (6.0, 6.0),
    "neurips": (5.5, 5.5),
    "tmlr": (6.5, 6.5),
    "uai": (3.25, 6.75),
    "wacv": (3.25, 6.875),
}

# Formatters of an axis' numbers, which may write them as formulas.
NUMBERS = (LogFormatter, ScalarFormatter)

# Okabe and Ito's colours, told apart with every common colour blindness.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# R, G and B differ in line style too, since a print or an eye may not tell them by colour.
CHANNELS = {"R": ("#C1272D", "-"), "G": ("#1B7837", "--"), "B": ("#2166AC", ":")}
MUTED = "#666666"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")
STYLES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))

# Points of ordinary type, and of ticks and legends.
FONT_SIZE, SMALLER = 8.0, 7.0
# Places in the palette that labels have had since the session began.
PLACES: dict[str, int] = {}

SIZES = {
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize"), FONT_SIZE),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize", "legend.title_fontsize"), SMALLER),
}
SETTINGS = {
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    "axes.linewidth": 0.6,
    "axes.prop_cycle": cycler(color=COLORS),
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "image.interpolation": "nearest",
    # TrueType, which journals take; matplotlib's own is Type 3.
    **dict.fromkeys(("pdf.fonttype", "ps.fonttype"), 42),
    "svg.fonttype": "none",
    "svg.hashsalt": "gradlens",
    "savefig.dpi": 300,
}


@contextmanager
def paper_style(venue: str = "neurips", columns: int = 2, font_size: float = FONT_SIZE) -> Iterator[None]:
    """Small sans-serif type, thin lines, Type-42 fonts and the venue's width, for this block only.

    columns: 1 for the width of a column, 2 for that of the text; the same where a venue has one column.
    font_size: of titles and axes in points; ticks, legends and notes stay in proportion. The reader's own
    settings (LaTeX, dark backgrounds, tight boxes) do not reach the figure.
    """
    if not 4 <= font_size <= 24:
        raise UserError(f"a font size of {font_size:g} points is not readable; give one from 4 to 24")
    sizes = {key: size * font_size / FONT_SIZE for key, size in SIZES.items()}
    with mpl.style.context(["default", {**SETTINGS, **sizes, "figure.figsize": (width(venue, columns), 2.2)}]):
        yield


def enlarged() -> float:
    """How much larger the style's type is than usual."""
    return float(mpl.rcParams["font.size"]) / FONT_SIZE


def points(size: float) -> float:
    """A size of type beside the usual 8 points, in proportion to the style's."""
    return size * enlarged()


def width(venue: str, columns: int = 2) -> float:
    """The width of one column or of the text of a venue, in inches."""
    if venue not in VENUES:
        raise UserError(unknown("venue", venue, VENUES))
    if columns not in (1, 2):
        raise UserError(f"a figure over {columns} columns is none; give 1 for a column's width, 2 for the text's")
    return VENUES[venue][columns - 1]


class Look(NamedTuple):
    """What tells a run from others: no two have one colour and one line style, nor one marker, up to 28."""

    color: str
    marker: str
    style: Any


def looks(runs: Sequence[Run] | Sequence[History]) -> list[Look]:
    """A look for each run: what its manifest states, else the palette's in the order in which labels were first given.

    A label keeps its look in every figure of a session; it takes the next free one where another label of
    the same figure has it, which needs more labels than colours.
    """
    shown = {run.label: _checked(run.label, display_of(run)) for run in runs}
    remember(shown)
    slots: dict[str, int] = {}
    for label in sorted(shown, key=lambda name: (shown[name].get("color") not in COLORS, PLACES[name])):
        slots[label] = _free_slot(label, shown[label].get("color"), slots.values())
    found: dict[str, Look] = {}
    for label, slot in slots.items():
        color = shown[label].get("color") or COLORS[slot % len(COLORS)]
        alike = sum(look.color == color for look in found.values())
        style = shown[label].get("style") or STYLES[alike % len(STYLES)]
        marker = shown[label].get("marker") or MARKERS[slot % len(MARKERS)]
        found[label] = Look(color, marker, style)
    return [found[run.label] for run in runs]


def as_written(drawn: Figure | Axes) -> None:
    """Show a figure's texts as their characters: a name with two $ is no formula. Axes write their numbers as ever."""
    numeric = [axis for axis in drawn.findobj(Axis) if isinstance(axis.get_major_formatter(), NUMBERS)]
    ticks = [text for axis in numeric for tick in axis.findobj(Tick) for text in tick.findobj(Text)]
    formulas = {id(text) for text in (*ticks, *(axis.get_offset_text() for axis in numeric))}
    for text in drawn.findobj(Text):
        if id(text) not in formulas:
            text.set_parse_math(False)


def remember(labels: Iterable[str]) -> None:
    """Give each label that has none the next place in the palette, for the rest of the session."""
    for label in labels:
        PLACES.setdefault(label, len(PLACES))


def display_of(run: Run | History) -> Mapping[str, Any]:
    """What the run's manifest said of its look: label, group, order, color, …"""
    return (run.provenance.get("model") or {}).get("display") or {}


def _checked(label: str, shown: Mapping[str, Any]) -> Mapping[str, Any]:
    """A run's record may be edited by hand."""
    for name in ("color", "marker"):
        checked(f"the record of {label}", name, shown.get(name), str | None, RULES[name])
    return shown


def dressed(runs: Sequence[Any]) -> list[Any]:
    """The same runs, each keeping the look that it has among them when some are left out."""
    pairs = zip(runs, looks(runs), strict=True)
    return [run.displayed(color=look.color, marker=look.marker, style=look.style) for run, look in pairs]


def _free_slot(label: str, color: str | None, taken: Any) -> int:
    """A place in the endless row of palettes: within the first of them if it can be."""
    wanted = [(PLACES[label] + k) % len(COLORS) for k in range(len(COLORS))]
    if color in COLORS:
        wanted = [COLORS.index(color)]
    places = (turn * len(COLORS) + place for turn in itertools.count() for place in wanted)
    return next(place for place in places if place not in taken)
