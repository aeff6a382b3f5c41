"""A finished run: a row an image, a summary, arrays, provenance. Knows files, not torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens.core.notebook import displayable
from gradlens.core.types import UserError, digest
from gradlens.runs.folder import read_run, write_run

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

    from gradlens.core.table import Table
    from gradlens.probes.probe import Probe
    from gradlens.session.plots import Plots

IDENTITY = (
    *("weights", "arch", "activation", "mean", "std", "data_fingerprint", "preprocess_hash"),
    *("analyzers", "seed", "precision"),
)


@dataclass
class Run:
    """What was measured of one model on one data set.

    samples: a row an image. summary: numbers of the whole run by name, None where missing. arrays: ``analyzer/what``.
    provenance: all that is needed to repeat it. examples: a few images ``(N, 3, H, W)`` with their
    raw gradients, as ``gradient · scale``. model, data: what to look again with; opened when needed.
    """

    samples: pd.DataFrame
    summary: dict[str, Any]
    arrays: dict[str, NDArray] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    examples: dict[str, NDArray] = field(default_factory=dict)
    model: Any = field(default=None, repr=False, compare=False)
    data: Any = field(default=None, repr=False, compare=False)
    ranked_by: str | None = field(default=None, repr=False, compare=False)
    cache: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        # None rather than NaN, which JSON does not have.
        missing = {k for k, v in self.summary.items() if isinstance(v, float) and not math.isfinite(v)}
        self.summary = {k: None if k in missing else v for k, v in self.summary.items()}

    @property
    def label(self) -> str:
        """The model's name, as figures show it."""
        return str(self.summary.get("model", "model"))

    @property
    def hash(self) -> str:
        """Identifies what was measured, for a figure's metadata."""
        return digest({k: self.provenance.get(k) for k in IDENTITY})

    @property
    def selected(self) -> bool:
        """Whether some rows were left out since; the summary is of the whole run."""
        return len(self.samples) != self.summary.get("images", len(self.samples))

    @property
    def count(self) -> str:
        """``500 images``, ``8 of 500 images``."""
        whole = f"{self.summary.get('images', len(self.samples)):,} images"
        return f"{len(self.samples):,} of {whole}" if self.selected else whole

    @property
    def headline(self) -> dict[str, float]:
        """The numbers worth reading first."""
        keys = ["top1", *(key for _, key, _ in self.readings)]
        return {key: self.summary[key] for key in keys if self.summary.get(key) is not None}

    @property
    def readings(self) -> list[list[str]]:
        """Title, key of the summary and meaning of what a table of this run shows, in order."""
        return self.provenance.get("readings") or []

    def select(self, where: str | None) -> Run:
        """The same run with the rows for which an expression of columns holds: ``"correct and l1 > 10"``."""
        if not where:
            return self
        try:
            holds = self.samples.eval(where)
            if not (isinstance(holds, pd.Series) and holds.dtype == bool):
                raise ValueError("not true or false of an image")
        except Exception as error:
            reason, columns = " ".join(str(error).split()), ", ".join(self.samples.columns[:12])
            raise UserError(f"cannot select '{where}' ({reason}); it may use the columns {columns}, …") from None
        return replace(self, samples=self.samples[holds])

    def top(self, column: str, n: int = 8, where: str | None = None) -> Run:
        """The n images with the largest values of a column, largest first."""
        from gradlens.core.names import unknown

        chosen = self.select(where).samples
        if column not in chosen:
            raise UserError(unknown("column", column, chosen.columns))
        if not pd.api.types.is_numeric_dtype(chosen[column]):
            raise UserError(f"column '{column}' holds text, which has no largest; give a column of numbers such as l1")
        return replace(self, samples=chosen.nlargest(n, column), ranked_by=column)

    def probe(self, index: int | Sequence[int]) -> Probe:
        """Look again at one image by its ``index``, or at several; reloads model and data where needed."""
        from gradlens.analysis.reopened import probe_of

        return probe_of(self, [index] if isinstance(index, int | np.integer) else list(index))

    def measure(self, probe: Probe) -> pd.DataFrame:
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
        from gradlens.plotting.strip import strip

        if column is not None and column not in self.samples:
            from gradlens.core.names import unknown

            raise UserError(unknown("column", column, self.samples.columns))
        return strip(self._keeping(self.samples["index"].head(images).tolist()), images, column)

    @property
    def plot(self) -> Plots:
        """The figures as methods, of this run and others: ``run.plot.gradient_gallery(twin)``."""
        from gradlens.session.plots import Plots

        return Plots(self)

    def figure(self, name: str, ax: Any = None, **options: Any) -> Any:
        """Draw a registered figure of this run."""
        from gradlens.plotting import draw

        return displayable(draw(name, [self], ax=ax, **options))

    def table(self) -> Table:
        """The summary's main numbers with 95 % intervals and how to read them."""
        from gradlens.runs.readings import table_of

        return table_of(self)

    def to_latex(self) -> str:
        """That table for a paper, without the explanations: a ``table`` environment for the package booktabs."""
        from gradlens.runs.readings import table_of

        return table_of(self, meanings=False).to_latex()

    def to_xarray(self) -> xarray.Dataset:
        """The kept examples with named axes ``(image, channel, y, x)``, for who has xarray installed."""
        from gradlens.runs.readings import to_xarray

        return to_xarray(self)

    def save(self, folder: str | Path) -> Path:
        """Write the run's folder; ``run.json`` comes last, so a folder that has it is complete."""
        return write_run(Path(folder), self.samples, self.summary, self.arrays, self.provenance, self.examples)

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Read a run's folder; raises UserError where it is not a complete run, or was changed by hand."""
        return cls(**read_run(Path(folder)))

    def __repr__(self) -> str:
        numbers = ", ".join(f"{k}={v:.4g}" for k, v in list(self.headline.items())[:4])
        whole = "of all " if self.selected else ""
        return f"<Run {self.label} on {self.summary.get('data')}: {self.count}, {whole}{numbers}>"

    def _repr_html_(self) -> str:
        from gradlens.session.page import run_page

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
