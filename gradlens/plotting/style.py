from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
import matplotlib.style
from cycler import cycler

from gradlens.core.names import unknown
from gradlens.core.types import UserError

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

# Okabe and Ito's colours, told apart with every common colour blindness.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# R, G and B differ in line style too, since a print or an eye may not tell them by colour.
CHANNELS = {"R": ("#C1272D", "-"), "G": ("#1B7837", "--"), "B": ("#2166AC", ":")}
MUTED = "#666666"

SETTINGS = {
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLORS),
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "image.interpolation": "nearest",
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "gradlens",
    "savefig.dpi": 300,
}


@contextmanager
def paper_style(venue: str = "neurips", columns: int = 2) -> Iterator[None]:
    """Small sans-serif type, thin lines, Type-42 fonts and the venue's width, for this block only.

    columns: 1 for the width of a column, 2 for that of the text; the same where a venue has one column.
    The reader's own settings (LaTeX, dark backgrounds, tight boxes) do not reach the figure.
    """
    size = (width(venue, columns), 2.2)
    with mpl.style.context(["default", {**SETTINGS, "figure.figsize": size}]):
        yield


def width(venue: str, columns: int = 2) -> float:
    """The width of one column or of the text of a venue, in inches."""
    if venue not in VENUES:
        raise UserError(unknown("venue", venue, VENUES))
    if columns not in (1, 2):
        raise UserError(f"a figure over {columns} columns is none; give 1 for a column's width, 2 for the text's")
    return VENUES[venue][columns - 1]
