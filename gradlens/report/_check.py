"""Whether a run holds what a report reads: folders are opened by other programs too, and edited by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gradlens.core.names import first_twice
from gradlens.core.types import UserError
from gradlens.runs.record import Run

SUFFIXES = (".html", ".htm")
# What parts of run.json must be, where they are there at all.
SHAPES: dict[str, tuple[type, ...]] = {
    "model": (dict,),
    "missing": (dict,),
    "versions": (dict,),
    "preprocess": (dict,),
    "readings": (list, tuple),
    "primary": (list, tuple),
    "analyzers": (list, tuple),
    "argv": (list, tuple),
}
EXAMPLES = ("index", "image", "gradient", "scale")


def check_output(path: str | Path) -> Path:
    """A path that a report can be written to; raises UserError for another ending."""
    file = Path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise UserError(f"cannot write a report as '{file.name}'; give a name that ends in .html")
    return file


def check_runs(runs: Sequence[Run]) -> None:
    """Raises UserError for no run, two of one name, and a run that lacks what every run has."""
    if not runs:
        raise UserError("no run given; a report needs the folder of at least one analysis")
    labels = [run.label for run in runs]
    if twice := first_twice(labels):
        raise UserError(f"two runs are called {twice}; name them with --labels, such as --labels before,after")
    for run in runs:
        fault = _fault(run)
        if fault:
            raise UserError(f"run {run.label} cannot be reported: {fault}; analyze again")


def _fault(run: Run) -> str:
    for name, kinds in SHAPES.items():
        value = run.provenance.get(name)
        if value is not None and not isinstance(value, kinds):
            return f"'{name}' in run.json is a {type(value).__name__}"
    if any(not (isinstance(row, list | tuple) and len(row) == 3 and _texts(row)) for row in run.readings):
        return "'readings' in run.json are not title, number and meaning"
    words = next((k for _, k, _ in run.readings if not isinstance(run.summary.get(k), int | float | None)), None)
    if words:
        return f"'{words}' in summary.json is not a number"
    return _fault_of_table(run.samples) or _fault_of_examples(run)


def _fault_of_table(samples: pd.DataFrame) -> str:
    for name in ("index", "path"):
        if name not in samples:
            return f"samples.parquet has no column '{name}'"
    if not len(samples):
        return "samples.parquet has no rows"
    return "samples.parquet has a column twice" if samples.columns.has_duplicates else ""


def _fault_of_examples(run: Run) -> str:
    kept: dict[str, Any] = run.examples
    if not kept:
        return ""
    absent = next((name for name in EXAMPLES if name not in kept), None)
    if absent:
        return f"its examples hold no '{absent}'"
    count, shape = len(kept["index"]), kept["image"].shape
    if shape != kept["gradient"].shape or len(shape) != 4 or shape[1] not in (1, 3):
        return f"its examples have shapes {shape} and {kept['gradient'].shape}, wanted (N, 3, H, W)"
    if shape[0] != count or kept["scale"].shape != (count,):
        return f"its examples are {count} indices for {shape[0]} images and {len(kept['scale'])} scales"
    known = set(run.samples["index"].tolist())
    stray = next((index for index in kept["index"].tolist() if index not in known), None)
    return f"it keeps an example of image {stray}, which samples.parquet lacks" if stray is not None else ""


def _texts(row: Sequence[Any]) -> bool:
    return all(isinstance(cell, str) for cell in row)
