"""Numbers as a reader wants them."""

from __future__ import annotations

import math
from typing import Any

NOTHING = "–"


def number(value: Any, decimals: int | None = None) -> str:
    """A number for reading: four digits, or so many decimals; a dash where it is missing."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{value:.4g}" if decimals is None else f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def amount(count: float) -> str:
    """``98 MB``: three digits and the unit."""
    units = ("bytes", "kB", "MB", "GB", "TB")
    power = min(len(units) - 1, int(math.log(max(count, 1), 1000)))
    return f"{count / 1000**power:.3g} {units[power]}"


def decimals_for(uncertainty: float, most: int = 6, digits: int = 2) -> int | None:
    """How many decimals show so many digits of an uncertainty; None where it is too small for plain notation."""
    if not uncertainty > 0 or not math.isfinite(uncertainty):
        return None
    wanted = max(0, digits - 1 - math.floor(math.log10(uncertainty)))
    return wanted if wanted <= most else None
