from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradlens._registry import figure as figures
from gradlens._results import Run
from gradlens._types import UserError
from gradlens.plotting._style import paper_style

FORMATS = ("pdf", "png", "svg")


def draw(spec: str, runs: Sequence[Run], ax: Axes | None = None, venue: str = "neurips", **options: Any) -> Figure:
    """Draw a registered figure, ``name`` or ``name:option=value``, in a paper's style.

    ax: draw into these axes, for figures that are one panel. Returns the figure; nothing is shown.
    """
    if ax is not None:
        options["ax"] = ax
    with paper_style(venue):
        try:
            drawn = figures.build(spec)(list(runs), **options)
        except TypeError as error:
            # Only a wrong option is the caller's mistake; anything else is ours and goes up.
            if "unexpected keyword argument" not in str(error):
                raise
            raise UserError(f"figure '{spec}': {str(error).split('() ')[-1]}") from None
    return drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)


def save(figure: Figure, path: str | Path, runs: Sequence[Run] = ()) -> Path:
    """Write a figure as pdf, png or svg; the same figure gives the same file.

    The runs' hashes go into the file's metadata, so that a figure can be traced to its numbers.
    """
    file = Path(path)
    suffix = file.suffix.lstrip(".").lower()
    if suffix not in FORMATS:
        raise UserError(f"cannot write a figure as '{file.name}'; give a name that ends in .pdf, .png or .svg")
    subject = "gradlens " + " ".join(run.hash for run in runs)
    metadata: dict[str, dict[str, Any]] = {
        "pdf": {"Subject": subject, "CreationDate": None},
        "png": {"Description": subject, "Software": None},
        "svg": {"Description": subject, "Date": None},
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with paper_style():
            figure.savefig(file, metadata=metadata[suffix])
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}; choose another output") from None
    return file
