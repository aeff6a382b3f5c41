"""Runs → matplotlib figures, without torch. No call shows a window or leaves a global setting changed."""

from gradlens.plotting._arrange import arrange
from gradlens.plotting._caption import caption
from gradlens.plotting._draw import draw
from gradlens.plotting._drawn_numbers import numbers
from gradlens.plotting._save import check_format, save
from gradlens.plotting.style import VENUES, paper_style

__all__ = ["VENUES", "arrange", "caption", "check_format", "draw", "numbers", "paper_style", "save"]
