from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from gradlens._files import write_atomically
from gradlens._histories import History
from gradlens._results import Run
from gradlens._types import UserError
from gradlens.plotting._style import paper_style

FORMATS = ("pdf", "png", "svg")
MOST_BYTES = 2_000_000
# Dots an inch of pictures and dense marks, fewer where the file would be larger than that.
MOST_DPI, LEAST_DPI = 300, 72
# What a dot of a picture takes in a file: of three bytes, those that noise leaves.
BYTES_A_DOT = 2.8


def save(figure: Figure, path: str | Path, runs: Sequence[Run] | Sequence[History] = ()) -> Path:
    """Write a figure as pdf, png or svg at its own size; the same figure gives the same file, at most 2 MB.

    The runs' labels and hashes go into the file's metadata, so that a figure can be traced to its numbers.
    """
    file = Path(path)
    suffix = check_format(file)
    dpi = _first_dpi(figure)
    content = _rendered(figure, suffix, dpi, runs)
    while len(content) > MOST_BYTES and dpi > LEAST_DPI:
        dpi *= 0.93 * math.sqrt(MOST_BYTES / len(content))
        content = _rendered(figure, suffix, dpi, runs)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}; choose another output") from None
    write_atomically(file, lambda stream: stream.write(content))
    return file


def check_format(path: str | Path) -> str:
    """The format that a file's name asks for; raises UserError for one that nobody can write."""
    suffix = Path(path).suffix.lstrip(".").lower()
    if suffix not in FORMATS:
        raise UserError(f"cannot write a figure as '{Path(path).name}'; give a name that ends in .pdf, .png or .svg")
    return suffix


def _first_dpi(figure: Figure) -> float:
    """What is likely to do, so that a large figure is not written twice in vain."""
    _forget_layout(figure)
    shown = [ax for ax in figure.axes if ax.images and ax.get_visible()]
    dots = sum(math.prod(ax.images[0].get_size()) for ax in shown)
    if dots * BYTES_A_DOT < MOST_BYTES:
        # Larger pictures of the same pixels take hardly more.
        return MOST_DPI
    places = [ax.get_position() for ax in shown]
    area = figure.get_figwidth() * figure.get_figheight() * sum(place.width * place.height for place in places)
    return min(MOST_DPI, math.sqrt(MOST_BYTES / BYTES_A_DOT / area))


def _forget_layout(figure: Figure) -> None:
    """A layout starts from where the last one ended, which would show in the file."""
    for ax in figure.axes:
        if spec := ax.get_subplotspec():
            ax.set_subplotspec(spec)


def _rendered(figure: Figure, suffix: str, dpi: float, runs: Sequence[Run] | Sequence[History]) -> bytes:
    stream = io.BytesIO()
    _forget_layout(figure)
    with paper_style():
        figure.savefig(stream, format=suffix, dpi=dpi, metadata=_metadata(figure, suffix, runs))
    return stream.getvalue()


def _metadata(figure: Figure, suffix: str, runs: Sequence[Run] | Sequence[History]) -> dict[str, Any]:
    title = str(figure.get_label())
    subject = "gradlens: " + ", ".join(f"{run.label} {run.hash}" for run in runs)
    hashes = [run.hash for run in runs]
    if suffix == "pdf":
        return {"Title": title, "Subject": subject, "Keywords": " ".join(hashes), "CreationDate": None}
    if suffix == "png":
        return {"Title": title, "Description": subject, "Software": None}
    return {"Title": title, "Description": subject, "Keywords": hashes, "Date": None}
