"""The numbers worth reading first, what must be known before believing them, and the comparison of several runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradlens.cli.terminal import ACCURACY, warnings
from gradlens.core.table import said_together
from gradlens.core.types import UserError
from gradlens.runs.comparison import compare
from gradlens.runs.readings import with_interval
from gradlens.runs.record import Run

# Spaces before a title that set it in by one step.
INDENT = 3


@dataclass(frozen=True)
class Reading:
    """A number in every run, with half its 95 % interval; how to read it; why it is missing.

    depth: how far its title is set in below that of the number it belongs to.
    """

    title: str
    depth: int
    key: str
    values: tuple[str, ...]
    meaning: str
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """A comparison as it is read: titles, sections of rows, notes; or why there is none."""

    title: str = ""
    titles: tuple[str, ...] = ()
    sections: tuple[tuple[str, list[list[str]]], ...] = ()
    notes: tuple[str, ...] = ()
    refusal: str = ""


def readings(runs: Sequence[Run]) -> list[Reading]:
    """A row for every number that some run's analyzers read first and some run has."""
    rows = dict.fromkeys(map(tuple, [*ACCURACY, *(reading for run in runs for reading in run.readings)]))
    known = [row for row in rows if any(_knows(run, row[1]) for run in runs)]
    return [_reading(title, key, meaning, runs) for title, key, meaning in known]


def _reading(title: str, key: str, meaning: str, runs: Sequence[Run]) -> Reading:
    values = tuple(with_interval(run.summary, key) for run in runs)
    depth = (len(title) - len(title.lstrip())) // INDENT
    return Reading(title.strip(), depth, key, values, meaning, tuple(_reasons(key, runs)))


def _reasons(key: str, runs: Sequence[Run]) -> Iterator[str]:
    """Why a number is missing, each reason once, with the runs that it holds for unless it holds for all."""
    found: dict[str, list[str]] = {}
    for run in runs:
        why = (run.provenance.get("missing") or {}).get(key)
        if why:
            found.setdefault(str(why), []).append(run.label)
    for why, labels in found.items():
        yield why if len(labels) == len(runs) else f"{why} ({', '.join(labels)})"


def _knows(run: Run, key: str) -> bool:
    return run.summary.get(key) is not None or key in (run.provenance.get("missing") or {})


def warned(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Label and warning; missing numbers are said where the numbers are."""
    bare = [replace(run, provenance={**run.provenance, "missing": {}}) for run in runs]
    return [(run.label, warning) for run in bare for warning in warnings(run)]


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
