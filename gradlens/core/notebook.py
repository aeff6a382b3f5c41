"""What only a notebook has: output that changes in its place, and figures that are shown for being a cell's value."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING, Any

from gradlens.core.text import page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 144


def in_notebook() -> bool:
    """Whether a kernel runs this, whose front end shows HTML."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


class Line:
    """One line of a cell's output that is written again and again."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, text: str) -> None:
        from IPython.display import HTML, display

        shown = HTML(f"<small>{page(text)}</small>")
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)


def displayable(figure: Figure) -> Figure:
    """The same figure, which a notebook shows although pyplot, which would see to that, does not know it."""

    def png() -> bytes:
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=DPI, facecolor="white")
        return stream.getvalue()

    figure._repr_png_ = png  # type: ignore[attr-defined]
    return figure
