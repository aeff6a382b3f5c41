"""Runs → one HTML file: numbers, figures, examples and a table of the images. Needs no torch, network or server."""

from gradlens.report._write import write_report

__all__ = ["write_report"]
