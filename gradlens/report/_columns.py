"""Which columns of a run's table the page carries, in which order, and which it shows at first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from gradlens.core.names import Name
from gradlens.report._encode import Encoded, encode
from gradlens.runs.comparison import BESIDE
from gradlens.runs.comparison_text import CORE
from gradlens.runs.record import Run

# What the page shows of the columns that all runs have; the declared hypotheses come behind.
FIRST = ("path", "label_name", "prediction_name", "correct", "confidence", "loss", "l1")
NUMBERS_OF_CLASSES = {"label_name": "label", "prediction_name": "prediction"}
MOST_SHOWN = 10
# Base64 characters that all tables together may take.
BUDGET = 8_000_000


@dataclass(frozen=True)
class Carried:
    """One column in the page."""

    name: str
    encoded: Encoded
    shown: bool
    meaning: str


@dataclass(frozen=True)
class TableOfRun:
    """A row an image of one run: the columns that the page carries, and the names of those it does not."""

    rows: int
    columns: tuple[Carried, ...]
    left_out: tuple[str, ...]


def tables(runs: Sequence[Run], budget: int = BUDGET) -> list[TableOfRun]:
    """Each run's table; where all columns would be too much, those beside a measure go first."""
    return [_table(run, budget // len(runs)) for run in runs]


def with_names(run: Run) -> pd.DataFrame:
    """The run's rows with the names of the classes, path first."""
    samples = run.samples
    names = (run.provenance.get("model") or {}).get("class_names") or []
    named = {
        name: samples[number].map(dict(enumerate(names)))
        for name, number in NUMBERS_OF_CLASSES.items()
        if names and number in samples
    }
    frame = samples.assign(**named)
    first = ["path", *named]
    return frame[[*first, *(c for c in frame.columns if c not in first)]]


def _table(run: Run, budget: int) -> TableOfRun:
    frame = with_names(run)
    shown = _shown(run, list(frame.columns))
    carried: dict[str, Encoded] = {}
    left = budget
    for name in _by_need(list(frame.columns), shown):
        encoded = encode(frame[name])
        if name in shown or encoded.size <= left:
            carried[name] = encoded
            left -= encoded.size
    meanings = _meanings(run)
    columns = tuple(
        Carried(name, carried[name], name in shown, meanings.get(name, "")) for name in frame.columns if name in carried
    )
    return TableOfRun(len(frame), columns, tuple(name for name in frame.columns if name not in carried))


def _shown(run: Run, columns: Sequence[str]) -> set[str]:
    """Without names of classes, their numbers."""
    first = (name if name in columns else NUMBERS_OF_CLASSES.get(name, name) for name in FIRST)
    wanted = [name for name in (*first, *(run.provenance.get("primary") or ())) if name in columns]
    return set(list(dict.fromkeys(wanted))[:MOST_SHOWN])


def _by_need(columns: Sequence[str], shown: set[str]) -> Iterator[str]:
    yield from sorted(columns, key=lambda name: (name not in shown, _stem(name).endswith((*BESIDE, "_z"))))


def _meanings(run: Run) -> dict[str, str]:
    """How to read a column, as the analyzers say it of its mean."""
    said: dict[str, Any] = dict(CORE)
    for _, key, meaning in run.readings:
        said[key.replace("_mean", "", 1)] = meaning
    return said


def _stem(column: str) -> str:
    """A column's name without its objective and parameters."""
    return Name.parse(column).stem
