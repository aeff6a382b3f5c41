"""Runs → matplotlib figures, without torch. No call shows a window or leaves a global setting changed."""

from gradlens.plotting._draw import arrange, draw
from gradlens.plotting._save import caption, check_format, save
from gradlens.plotting.panels import numbers
from gradlens.plotting.style import VENUES, paper_style

__all__ = ["VENUES", "arrange", "caption", "check_format", "draw", "numbers", "paper_style", "save"]
