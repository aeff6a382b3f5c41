"""What stands in the page's tables: why numbers are missing, how the runs compare, and the first images of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from gradlens.core.numbers import NOTHING, number
from gradlens.core.table import Table
from gradlens.core.types import UserError
from gradlens.plotting.pictures import class_names
from gradlens.runs.comparison import CORE, compare
from gradlens.runs.readings import Reading
from gradlens.runs.record import Run

MOST_ROWS = 1000
# What the page shows of the columns that all runs have; what the analyzers put first comes behind.
FIRST = ("path", "index", "label", "prediction", "correct", "confidence", "loss")


@dataclass(frozen=True)
class Images:
    """The first images of a run as text, a row each; ``columns`` holds name, meaning and whether it is a number."""

    label: str
    total: int
    columns: tuple[tuple[str, str, bool], ...]
    rows: list[tuple[str, ...]]


def reasons(reading: Reading, runs: Sequence[Run]) -> list[str]:
    """Why a number is missing, each reason once, with the runs that it holds for unless it holds for all."""
    found: dict[str, list[str]] = {}
    for run, value in zip(runs, reading.values, strict=True):
        if value.missing:
            found.setdefault(value.missing, []).append(run.label)
    return [why if len(labels) == len(runs) else f"{why} ({', '.join(labels)})" for why, labels in found.items()]


def compared(groups: Mapping[str, Sequence[Run]]) -> Table | str:
    """The groups' comparison; in words where they cannot be compared, and empty for one run."""
    if sum(map(len, groups.values())) < 2:
        return ""
    try:
        return compare(groups)
    except UserError as error:
        return str(error)


def images(run: Run) -> Images:
    """The columns worth reading first, of at most a thousand images in the order of the run."""
    samples = with_names(run.samples.head(MOST_ROWS), run)
    # A number of the whole run is called after the column that it is of.
    means = {re.sub("_mean|_accuracy", "", key, count=1): meaning for _, key, meaning in run.readings}
    meanings = {**CORE, **means}
    wanted = dict.fromkeys([*FIRST, *(run.provenance.get("primary") or ()), *means])
    shown = [name for name in wanted if name in samples]
    columns = [(name, meanings.get(name, ""), _is_number(samples[name])) for name in shown]
    cells = [_texts(samples[name]) for name in shown]
    return Images(run.label, len(run.samples), tuple(columns), list(zip(*cells, strict=True)))


def with_names(rows: pd.DataFrame, run: Run) -> pd.DataFrame:
    """Rows of the run with the classes by name, or by number where the run does not know their names."""
    names = class_names(run)
    known = [column for column in ("label", "prediction") if names and column in rows]
    found = {column: rows[column].map(names) for column in known}
    if not (run.provenance.get("model") or {}).get("class_names"):
        # Folders name only the classes that have an image.
        found = {column: named.fillna(rows[column]) for column, named in found.items()}
    return rows.assign(**found)


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _texts(values: pd.Series) -> list[str]:
    """Numbers in four digits, truth in words, a dash where something is missing."""
    if pd.api.types.is_float_dtype(values):
        return [number(value) for value in values.astype(float)]
    if pd.api.types.is_bool_dtype(values):
        values = values.map({True: "yes", False: "no"})
    return [NOTHING if pd.isna(value) else str(value) for value in values]
