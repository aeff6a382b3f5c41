"""What a page says of several runs: why numbers are missing, what must be known of them, how they compare."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradlens.core.table import said_together
from gradlens.core.types import UserError
from gradlens.runs.comparison import compare
from gradlens.runs.readings import Reading, warnings
from gradlens.runs.record import Run


@dataclass(frozen=True)
class Comparison:
    """A comparison as it is read: titles, sections of rows, notes; or why there is none."""

    title: str = ""
    titles: tuple[str, ...] = ()
    sections: tuple[tuple[str, list[list[str]]], ...] = ()
    notes: tuple[str, ...] = ()
    refusal: str = ""


def reasons(reading: Reading, runs: Sequence[Run]) -> list[str]:
    """Why a number is missing, each reason once, with the runs that it holds for unless it holds for all."""
    found: dict[str, list[str]] = {}
    for run, value in zip(runs, reading.values, strict=True):
        if value.missing:
            found.setdefault(value.missing, []).append(run.label)
    return [why if len(labels) == len(runs) else f"{why} ({', '.join(labels)})" for why, labels in found.items()]


def warned(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Label and warning; missing numbers are said where the numbers are."""
    return [(run.label, warning) for run in runs for warning in warnings(run, missing=False)]


def compared(groups: Mapping[str, Sequence[Run]]) -> Comparison | None:
    """The groups' comparison, with the reason where they cannot be compared; None for one run."""
    if sum(map(len, groups.values())) < 2:
        return None
    try:
        table = compare(groups)
    except UserError as error:
        return Comparison(refusal=str(error))
    printed: Any = table.printed if table.printed is not None else table.frame.astype(str)
    rows = zip(printed.index, printed.to_numpy().tolist(), strict=True)
    sections = tuple(
        (str(section), [cells for _, cells in members])
        for section, members in itertools.groupby(rows, key=lambda row: row[0])
    )
    notes = (*table.notes, *said_together(table.missing))
    return Comparison(table.title, tuple(map(str, printed.columns)), sections, notes)
