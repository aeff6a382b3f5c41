"""A finished run: a row an image, a summary, arrays, provenance. Knows files, not torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from numpy.typing import NDArray

from gradlens.core.names import unknown, with_limits
from gradlens.core.types import UserError, digest
from gradlens.runs.folder import read_run, write_run
from gradlens.stats.clusters import cluster_of
from gradlens.stats.intervals import flags_interval

# Rather than typing.Self, which jaxtyping's import hook cannot check.
Own = TypeVar("Own", bound="Run")
IDENTITY = (
    *("weights", "arch", "activation", "mean", "std", "data_fingerprint", "preprocess_hash"),
    *("analyzers", "seed", "precision"),
)


def accuracies(samples: pd.DataFrame) -> dict[str, float]:
    """Top-1 in percent with its interval, among all classes and, where the data hold only some, among those."""
    found = {"top1": math.nan}
    for key, column in (("top1", "correct"), ("top1_valid", "correct_valid")):
        if column in samples:
            known = samples[samples[column].notna()]
            share = flags_interval(known[column], cluster=cluster_of(known))
            found |= with_limits(key, [100 * part for part in share])
    return found


def right_and_wrong(samples: pd.DataFrame) -> tuple[NDArray, NDArray]:
    """Which images are classified right and which wrong, ``(N,)`` each; one without a label is neither."""
    right = samples["correct"].astype("boolean")
    return tuple(rows.fillna(False).to_numpy(bool) for rows in (right, ~right))


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

    def named(self: Own, label: str) -> Own:
        """The same run under another name; the given one keeps its own."""
        return replace(self, summary={**self.summary, "model": label})

    def displayed(self: Own, **display: Any) -> Own:
        """The same run with these looks in figures and tables: group, order, color, marker, style."""
        model = self.provenance.get("model") or {}
        shown = {**(model.get("display") or {}), **display}
        return replace(self, provenance={**self.provenance, "model": {**model, "display": shown}})

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

    def select(self: Own, where: str | None) -> Own:
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

    def top(self: Own, column: str, n: int = 8, where: str | None = None) -> Own:
        """The n images with the largest values of a column, largest first."""
        chosen = self.select(where).samples
        if column not in chosen:
            raise UserError(unknown("column", column, chosen.columns))
        if not pd.api.types.is_numeric_dtype(chosen[column]):
            raise UserError(f"column '{column}' holds text, which has no largest; give a column of numbers such as l1")
        return replace(self, samples=chosen.nlargest(n, column), ranked_by=column)

    def save(self, folder: str | Path) -> Path:
        """Write the run's folder; ``run.json`` comes last, so a folder that has it is complete."""
        return write_run(Path(folder), self.samples, self.summary, self.arrays, self.provenance, self.examples)

    @classmethod
    def load(cls: type[Own], folder: str | Path, allow_edited: bool = False) -> Own:
        """Read a run's folder; raises UserError where it is not a complete run, or was changed by hand.

        allow_edited: read one that was changed all the same; its tables say so.
        """
        parts = read_run(Path(folder), allow_edited)
        # Runs of format 1 hold no interval of their accuracy, which their rows give.
        parts["summary"] |= {k: v for k, v in accuracies(parts["samples"]).items() if k not in parts["summary"]}
        return cls(**parts)

    def __repr__(self) -> str:
        numbers = ", ".join(f"{k}={v:.4g}" for k, v in list(self.headline.items())[:4])
        whole = "of all " if self.selected else ""
        return f"<Run {self.label} on {self.summary.get('data')}: {self.count}, {whole}{numbers}>"
