from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from cycler import cycler

from gradlens._registry import unknown
from gradlens._types import UserError

# Column and text widths in inches, from the venues' style files.
VENUES = {
    "cvpr": (3.25, 6.875),
    "eccv": (4.8, 4.8),
    "iclr": (5.5, 5.5),
    "icml": (3.25, 6.75),
    "neurips": (5.5, 5.5),
    "tmlr": (6.5, 6.5),
}

# Okabe and Ito's colours, told apart with every common colour blindness.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# R, G and B differ in line style too, since a print or an eye may not tell them by colour.
CHANNELS = {"R": ("#C1272D", "-"), "G": ("#1B7837", "--"), "B": ("#2166AC", ":")}
MUTED = "#666666"


@contextmanager
def paper_style(venue: str = "neurips") -> Iterator[None]:
    """Small sans-serif type, thin lines, Type-42 fonts and the venue's widths, for this block only."""
    with mpl.rc_context(
        {
            "figure.figsize": (width(venue), 2.2),
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
            "legend.frameon": False,
            "lines.linewidth": 1.2,
            "image.interpolation": "nearest",
            "pdf.fonttype": 42,
            "ps.fonttype": 42,
            "svg.fonttype": "none",
            "svg.hashsalt": "gradlens",
            "savefig.dpi": 300,
        }
    ):
        yield


def width(venue: str) -> float:
    """The full text width of a venue, in inches."""
    if venue not in VENUES:
        raise UserError(unknown("venue", venue, VENUES))
    return VENUES[venue][1]
