"""One property of gradients a file, as pure functions of a probe. No files, figures or ranks."""

from gradlens.analyzers._base import Analyzer, Inline, Summary

STANDARD = ("sample_asymmetry", "channel_asymmetry", "edge_concentration", "class_selectivity")

__all__ = ["STANDARD", "Analyzer", "Inline", "Summary"]
