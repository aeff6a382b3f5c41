"""A run in a Python session: drawn, shown in a notebook, and opened again to look at its images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gradlens.core.names import unknown
from gradlens.core.notebook import displayable
from gradlens.core.registry import figure
from gradlens.core.table import Table
from gradlens.core.types import UserError
from gradlens.runs import record
from gradlens.runs.history import check_kind
from gradlens.runs.readings import table_of
from gradlens.session.page import run_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from gradlens.probes import probe as probes
    from gradlens.session.probe import Probe


class Run(record.Run):
    __doc__ = record.Run.__doc__

    @classmethod
    def of(cls, run: record.Run) -> Run:
        """The same run with what a session adds."""
        return cls(**{f.name: getattr(run, f.name) for f in fields(run)})

    @classmethod
    def add(cls, folder: str | Path, analyzers: Any, objective: str | Sequence[str] = "loss") -> Run:
        """Measure more of a finished run in a folder: its own images, model, precision and seed; the whole run.

        analyzers, objective: as in ``analyze``. The folder is rewritten so that it is whole at any moment.
        """
        from gradlens.analysis.adding import add

        return cls.of(add(folder, analyzers, objective))

    def probe(self, index: int | Sequence[int]) -> Probe:
        """Look again at one image by its ``index``, or at several; reloads model and data where needed."""
        from gradlens.analysis.reopened import probe_of
        from gradlens.session.probe import Probe

        return Probe.of(probe_of(self, [index] if isinstance(index, int | np.integer) else list(index)))

    def measure(self, probe: probes.Probe) -> pd.DataFrame:
        """A row an image of a probe, with the columns that this run has of its own images.

        Of this run's model at edited pixels, the difference of two rows is what the edit does:
        ``run.measure(probe.at(edited))``. Nulls and colour axes come from the run's own pilot images, so
        that of an unchanged image is the run's row, up to rounding. Columns of inline analyzers are NaN.
        """
        from gradlens.analysis.reopened import measured_as

        return measured_as(self, probe)

    def show(self, images: int = 8, column: str | None = None) -> Figure:
        """The first images of the run above their gradients, with their classes and one number each.

        After ``top`` that is the column it ranked by, else l1. Images whose gradients the run did not
        keep are computed again, from its model and data.
        """
        from gradlens.plotting.pictures import strip

        if column is not None and column not in self.samples:
            raise UserError(unknown("column", column, self.samples.columns))
        return strip(self._keeping(self.samples["index"].head(images).tolist()), images, column)

    @property
    def plot(self) -> Plots:
        """The figures as methods, of this run and others: ``run.plot.gradient_gallery(twin)``."""
        return Plots(self)

    def figure(self, name: str, ax: Any = None, **options: Any) -> Any:
        """Draw a registered figure of this run."""
        from gradlens.plotting import draw

        return displayable(draw(name, [self], ax=ax, **options))

    def table(self) -> Table:
        """The summary's main numbers with 95 % intervals and how to read them."""
        return table_of(self)

    def to_latex(self) -> str:
        """That table for a paper, without the explanations: a ``table`` environment for the package booktabs."""
        return table_of(self, meanings=False).to_latex()

    def _repr_html_(self) -> str:
        return run_page(self)

    def _keeping(self, indices: list[int]) -> Run:
        """The same run with examples of all these images."""
        kept = self.examples.get("index", np.empty(0, np.int64)).tolist()
        missing = [index for index in indices if index not in kept]
        if not missing:
            return self
        from gradlens.analysis.reopened import examples_of

        found = examples_of(self, missing)
        joined = {k: np.concatenate([self.examples[k], v]) if kept else v for k, v in found.items()}
        return replace(self, examples=joined)


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
