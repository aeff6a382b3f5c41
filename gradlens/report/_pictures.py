"""Pictures inside the page: every registered figure that the runs can feed, and each stored example."""

from __future__ import annotations

import base64
import inspect
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from PIL import Image

from gradlens.core.numbers import number
from gradlens.core.registry import figure as registered
from gradlens.core.types import UserError
from gradlens.plotting import draw, paper_style
from gradlens.plotting.pictures import class_of, example, in_gray, scale_of
from gradlens.report._tables import with_names
from gradlens.runs.record import Run

# A drawing with more marks or pixels than this many bytes hold is rasterised.
MOST_VECTOR = 160_000
DPI = 170
# Pixels of an example's longer side at most, and up to which it is kept without loss.
SIDE, SMALL = 160, 64
MOST_EXAMPLES = 128


@dataclass(frozen=True)
class Drawn:
    """A figure by name, what it shows (the first sentence, and the rest), its picture, and its width in pixels."""

    name: str
    claim: str
    more: str
    picture: str
    width: int


@dataclass(frozen=True)
class Look:
    """What one run says of an image: some numbers, and its gradient on its own scale and on that of all runs."""

    label: str
    lines: tuple[str, ...]
    own: str
    shared: str


@dataclass(frozen=True)
class Card:
    """One image with the looks of every run that keeps its gradient; coarse where its pixels are to be seen."""

    path: str
    name: str
    coarse: bool
    image: str
    looks: tuple[Look, ...]


def draw_all(runs: Sequence[Run]) -> tuple[list[Drawn], dict[str, str]]:
    """The figures in alphabetical order, and why the others could not be drawn, by name."""
    drawn, absent = [], {}
    for name in registered:
        try:
            drawn.append(_drawn(name, runs))
        except UserError as error:
            absent[name] = str(error)
        except Exception as error:
            # One figure that fails, perhaps a plugin's, must not cost the report; the page names it.
            absent[name] = f"failed with {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return drawn, absent


def _drawn(name: str, runs: Sequence[Run]) -> Drawn:
    with warnings.catch_warnings():
        # A glyph that a font lacks is drawn as a box; that is no reason to disturb the terminal.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = draw(name, runs)
        picture = _picture_of(figure)
    said = (inspect.getdoc(registered[name]) or "").replace("``", "")
    claim, more = (" ".join(part.split()) for part in said.partition("\n\n")[::2])
    return Drawn(name, claim, more, picture, round(96 * figure.get_figwidth()))


def _picture_of(figure: Figure) -> str:
    """Vectors with their letters as outlines, so that no font is needed; pixels for photographs and many marks."""
    if not figure.findobj(AxesImage):
        vector = _saved(figure, format="svg", metadata={"Date": None, "Creator": None})
        if len(vector) <= MOST_VECTOR:
            return _uri(vector, "svg+xml")
    pixels = Image.open(io.BytesIO(_saved(figure, format="png", dpi=DPI)))
    return _encoded(pixels, "webp", quality=88, method=4)


def _saved(figure: Figure, **options: Any) -> bytes:
    stream = io.BytesIO()
    with paper_style(), mpl.rc_context({"svg.fonttype": "path"}):
        figure.savefig(stream, transparent=True, **options)
    return stream.getvalue()


def cards(runs: Sequence[Run], most: int = MOST_EXAMPLES) -> list[Card]:
    """The examples of all runs, the same image of the same data once, in the first run's order."""
    kept: dict[tuple[Any, str], list[tuple[Run, pd.Series]]] = {}
    for run in runs:
        indices = run.examples.get("index", np.array([], int)).tolist()
        rows = with_names(run.samples[run.samples["index"].isin(indices)], run).set_index("index", drop=False)
        # What two runs must share for one path to be one image.
        data = run.provenance.get("data_fingerprint") or run.summary.get("data")
        for index in indices:
            row = rows.loc[index]
            kept.setdefault((data, str(row["path"])), []).append((run, row))
    return [_card(path, places) for (_, path), places in list(kept.items())[:most]]


def _card(path: str, places: Sequence[tuple[Run, pd.Series]]) -> Card:
    pairs = [example(run, row["index"]) for run, row in places]
    largest = max(scale_of(gradient) for _, gradient in pairs)
    looks = tuple(
        Look(run.label, _lines(row, gradient), *(picture(in_gray(gradient, s)) for s in (scale_of(gradient), largest)))
        for (run, row), (_, gradient) in zip(places, pairs, strict=True)
    )
    (run, row), image = places[0], pairs[0][0]
    return Card(path, class_of(run, row["index"]) or path, max(image.shape) <= SMALL, picture(image), looks)


def _lines(row: pd.Series, gradient: NDArray) -> tuple[str, ...]:
    """What a caption says: the gradient's size, and what the model takes the image for."""
    size = f"L1 {number(np.abs(gradient).sum())}"
    if "correct" not in row or "confidence" not in row:
        return (size,)
    if pd.isna(row["confidence"]):
        return size, "no prediction"
    name = row.get("prediction")
    # A column with missing values has no integers.
    taken = "right" if row["correct"] else f"taken for {int(name) if isinstance(name, float) else name}"
    return size, f"{taken}, {row['confidence']:.2f}"


def picture(pixels: NDArray) -> str:
    """Pixels ``(H, W, 3)`` or ``(H, W, 1)`` in [0, 1] as a data URI, averaged down to at most 160 pixels a side."""
    eight_bit = np.rint(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
    drawn = Image.fromarray(np.repeat(eight_bit, 3 // eight_bit.shape[2], axis=2))
    if max(drawn.size) <= SMALL:
        return _encoded(drawn, "png")
    drawn.thumbnail((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=None)
    # Halved colour resolution would hide what the channels differ in.
    return _encoded(drawn, "jpeg", quality=82, subsampling=0, optimize=True)


def _encoded(drawn: Image.Image, kind: str, **options: Any) -> str:
    stream = io.BytesIO()
    drawn.save(stream, kind, **options)
    return _uri(stream.getvalue(), kind)


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
