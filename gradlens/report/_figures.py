"""Every registered figure that the runs can feed, as a picture inside the page."""

from __future__ import annotations

import base64
import inspect
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image

from gradlens.core.registry import figure as registered
from gradlens.core.types import UserError
from gradlens.plotting import draw, paper_style
from gradlens.report._pictures import as_uri
from gradlens.runs.record import Run

# A drawing with more marks or pixels than this many characters hold is rasterised.
MOST_VECTOR = 160_000
DPI = 170


@dataclass(frozen=True)
class Drawn:
    """A figure by name, what it shows (the first sentence, and the rest), its picture, and its width in pixels."""

    name: str
    claim: str
    more: str
    picture: str
    width: int


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
        picture = _picture(figure)
    claim, _, more = " ".join(_text(name).split(" ")).partition("\n\n")
    width = round(96 * figure.get_figwidth())
    return Drawn(name, " ".join(claim.split()), " ".join(more.split()), picture, width)


def _text(name: str) -> str:
    return (inspect.getdoc(registered[name]) or "").replace("``", "")


def _picture(figure: Figure) -> str:
    """Vectors with their letters as outlines, so that no font is needed; pixels for photographs and many marks."""
    if not figure.findobj(AxesImage):
        vector = _saved(figure, format="svg", metadata={"Date": None, "Creator": None})
        if len(vector) <= MOST_VECTOR:
            return f"data:image/svg+xml;base64,{base64.b64encode(vector).decode()}"
    pixels = _saved(figure, format="png", dpi=DPI)
    return as_uri(Image.open(io.BytesIO(pixels)), "webp", quality=88, method=4)


def _saved(figure: Figure, **options: Any) -> bytes:
    stream = io.BytesIO()
    with paper_style(), mpl.rc_context({"svg.fonttype": "path"}):
        figure.savefig(stream, transparent=True, **options)
    return stream.getvalue()
