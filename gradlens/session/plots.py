"""``run.plot.<figure>()``: the registered figures of a run as methods, so that completion lists them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradlens.core.names import unknown
from gradlens.core.notebook import displayable
from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.runs.history import check_kind
from gradlens.runs.record import Run


class UnknownFigureError(UserError, AttributeError):
    """A figure that nobody knows: also what ``hasattr`` expects of a name that is not there."""


class Plots:
    """The figures of one run, or of it and others: ``run.plot.gradient_gallery(twin, images=3)``."""

    def __init__(self, run: Run):
        self._run = run

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name not in set(figure):
            raise UnknownFigureError(unknown("figure", name, figure))

        def drawn(*others: Run, **options: Any) -> Any:
            from gradlens.plotting import draw

            return displayable(draw(name, [self._run, *others], **options))

        drawn.__name__, drawn.__doc__ = name, figure[name].__doc__
        return drawn

    def __dir__(self) -> list[str]:
        return [name for name in figure if self._drawn_by(name)]

    def _drawn_by(self, name: str) -> bool:
        """Whether it draws runs; some draw trainings."""
        try:
            check_kind(name, figure[name], [self._run])
        except UserError:
            return False
        return True

    def __call__(self, *given: Any, **options: Any) -> Any:
        names = dir(self)
        raise UserError(f"plot is not called itself, but run.plot.{names[0]}(); there are: {', '.join(names)}")

    def __repr__(self) -> str:
        return f"<figures of {self._run.label}: {', '.join(dir(self))}>"
