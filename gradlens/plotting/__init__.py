"""Runs → matplotlib figures, without torch. No call shows a window or leaves a global setting changed."""

from gradlens.plotting._draw import draw, save
from gradlens.plotting._style import VENUES, paper_style

__all__ = ["VENUES", "draw", "paper_style", "save"]
