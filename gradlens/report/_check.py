"""The runs of a report, named by group, and whether they hold what it reads: folders are also edited by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from gradlens.core.names import first_twice
from gradlens.core.types import UserError
from gradlens.runs.record import Run

# What parts of run.json must be, where they are there at all.
SHAPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("model", "missing", "versions", "preprocess"), dict),
    **dict.fromkeys(("readings", "primary", "analyzers", "argv"), (list, tuple)),
}
EXAMPLES = ("index", "image", "gradient", "scale")


def grouped(runs: Run | Sequence[Run] | Mapping[str, Run | Sequence[Run]]) -> dict[str, list[Run]]:
    """Runs by group; a run of a named group takes its name, numbered where it has several.

    Raises UserError for no run, two of one name, and a run that lacks what every run has.
    """
    if isinstance(runs, Mapping):
        listed = {name: [group] if isinstance(group, Run) else list(group) for name, group in runs.items()}
        named = [
            (name, run.named(name if len(group) == 1 else f"{name} {k}"))
            for name, group in listed.items()
            for k, run in enumerate(group, 1)
        ]
    else:
        named = [(run.label, run) for run in ([runs] if isinstance(runs, Run) else runs)]
    _check([run for _, run in named])
    groups: dict[str, list[Run]] = {}
    for name, run in named:
        groups.setdefault(name, []).append(run)
    return groups


def _check(runs: Sequence[Run]) -> None:
    if not runs:
        raise UserError("no run given; a report needs the folder of at least one analysis")
    if twice := first_twice([run.label for run in runs]):
        raise UserError(f"two runs are called {twice}; name them with --labels, such as --labels before,after")
    for run in runs:
        if fault := _fault_of_provenance(run) or _fault_of_samples(run.samples) or _fault_of_examples(run):
            raise UserError(f"run {run.label} cannot be reported: {fault}; analyze again")


def _fault_of_provenance(run: Run) -> str:
    for name, kinds in SHAPES.items():
        value = run.provenance.get(name)
        if value is not None and not isinstance(value, kinds):
            return f"'{name}' in run.json is a {type(value).__name__}"
    for row in run.readings:
        if not (isinstance(row, list | tuple) and len(row) == 3 and all(isinstance(cell, str) for cell in row)):
            return "'readings' in run.json are not title, number and meaning"
        if not isinstance(run.summary.get(row[1]), int | float | None):
            return f"'{row[1]}' in summary.json is not a number"
    return ""


def _fault_of_samples(samples: pd.DataFrame) -> str:
    for name in ("index", "path"):
        if name not in samples:
            return f"samples.parquet has no column '{name}'"
    if not len(samples):
        return "samples.parquet has no rows"
    if samples.columns.has_duplicates:
        return "samples.parquet has a column twice"
    return "samples.parquet has an image twice" if samples["index"].duplicated().any() else ""


def _fault_of_examples(run: Run) -> str:
    kept: dict[str, Any] = run.examples
    if not kept:
        return ""
    if absent := next((name for name in EXAMPLES if name not in kept), ""):
        return f"its examples hold no '{absent}'"
    count, shape = len(kept["index"]), kept["image"].shape
    if shape != kept["gradient"].shape or len(shape) != 4 or shape[1] not in (1, 3):
        return f"its examples have shapes {shape} and {kept['gradient'].shape}, wanted (N, 3, H, W)"
    if shape[0] != count or kept["scale"].shape != (count,):
        return f"its examples are {count} indices for {shape[0]} images and {len(kept['scale'])} scales"
    stray = set(kept["index"].tolist()) - set(run.samples["index"].tolist())
    return f"it keeps an example of image {min(stray)}, which samples.parquet lacks" if stray else ""
