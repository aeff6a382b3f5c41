"""A figure → its file, the same each time and at most 2 MB, and a caption to start from."""

from __future__ import annotations

import inspect
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from gradlens.core.files import make_folder, write_atomically
from gradlens.core.registry import figure as figures
from gradlens.core.types import UserError
from gradlens.plotting.style import paper_style
from gradlens.runs.history import History
from gradlens.runs.record import Run

FORMATS = ("pdf", "png", "svg")
MOST_BYTES = 2_000_000
# Dots an inch of pictures and dense marks, fewer where the file would be larger than that.
MOST_DPI, LEAST_DPI = 300, 72


def save(figure: Figure, path: str | Path, runs: Sequence[Run] | Sequence[History] = ()) -> Path:
    """Write a figure as pdf, png or svg at its own size; the same figure gives the same file, at most 2 MB.

    The runs' labels and hashes go into the file's metadata, so that a figure can be traced to its numbers.
    """
    file = Path(path)
    suffix = check_format(file)
    with _laid_out(figure):
        dpi = float(MOST_DPI)
        content = _rendered(figure, suffix, dpi, runs)
        while len(content) > MOST_BYTES and dpi > LEAST_DPI:
            dpi *= 0.93 * math.sqrt(MOST_BYTES / len(content))
            content = _rendered(figure, suffix, dpi, runs)
    make_folder(file.parent)
    write_atomically(file, lambda stream: stream.write(content))
    return file


def check_format(path: str | Path) -> str:
    """The format that a file's name asks for; raises UserError for one that nobody can write."""
    suffix = Path(path).suffix.lstrip(".").lower()
    if suffix not in FORMATS:
        raise UserError(f"cannot write a figure as '{Path(path).name}'; give a name that ends in .pdf, .png or .svg")
    return suffix


@contextmanager
def _laid_out(figure: Figure) -> Iterator[None]:
    """Everything in its place, found once and from the same start, whatever was drawn or written before."""
    engine = figure.get_layout_engine()
    # A caller's figure without a layout is not to get the style's.
    with paper_style(), mpl.rc_context({"figure.constrained_layout.use": False}):
        if engine is None:
            yield
            return
        for ax in figure.axes:
            if spec := ax.get_subplotspec():
                ax.set_subplotspec(spec)
        engine.execute(figure)
        figure.set_layout_engine("none")
        _round_places(figure)
        try:
            yield
        finally:
            figure.set_layout_engine(engine)


def _round_places(figure: Figure) -> None:
    """To millionths of the figure: the last digits depend on where the layout's solver lay in memory."""
    for ax in figure.axes:
        arranged = ax.get_in_layout()
        ax.set_position(Bbox(ax.get_position(original=True).get_points().round(6)))
        ax.set_in_layout(arranged)


def _rendered(figure: Figure, suffix: str, dpi: float, runs: Sequence[Run] | Sequence[History]) -> bytes:
    stream = io.BytesIO()
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


def caption(figure: Figure, runs: Sequence[Run] | Sequence[History], where: str | None = None) -> str:
    """A caption to start from: what is drawn, of which models and data, and the figure's notes (n, intervals, scales).

    figure, runs: what ``draw`` returned and was given. where: the condition that the images met.
    """
    name = str(figure.get_label()).partition(":")[0]
    said = [_claim(figures[name]) if name in figures else "", _subjects(runs)]
    if where:
        said.append(f"Only images with {where}")
    said += " ".join(figure.get_supxlabel().split()).split("; ")
    return " ".join(_sentence(part) for part in said if part)


def _claim(method: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(method) or "").split("\n\n")[0].split()).replace("``", "")


def _subjects(runs: Sequence[Run] | Sequence[History]) -> str:
    """Models and their data, these once where all share them; of trainings, how many seeds."""
    labels = [run.label for run in runs]
    if not all(isinstance(run, Run) for run in runs):
        return "Trainings: " + ", ".join(f"{label} (n = {labels.count(label)})" for label in dict.fromkeys(labels))
    data = [str(run.summary.get("data") or "unnamed data") for run in runs]
    head = f"Model{'s' * (len(runs) > 1)}: "
    if len(set(data)) == 1:
        return f"{head}{', '.join(labels)}; data: {data[0]}"
    return head + ", ".join(f"{label} on {name}" for label, name in zip(labels, data, strict=True))


def _sentence(text: str) -> str:
    text = text.strip().rstrip(".")
    # n is a symbol.
    return f"{text}." if text[:2] in ("n ", "n:") else f"{text[:1].upper()}{text[1:]}."
