"""One property of gradients a file, as pure functions of a probe. No files, figures or ranks."""

from gradlens.analyzers._base import (
    PILOT_IMAGES,
    STANDARD,
    Analyzer,
    Inline,
    Reading,
    Summary,
    choose_analyzers,
    name_of,
    without_limits,
)

__all__ = [
    "PILOT_IMAGES",
    "STANDARD",
    "Analyzer",
    "Inline",
    "Reading",
    "Summary",
    "choose_analyzers",
    "name_of",
    "without_limits",
]
