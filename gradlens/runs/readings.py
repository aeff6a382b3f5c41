"""The numbers that a run's reader sees first, each with its interval, and what must be known before believing them.

The terminal, ``run.table()``, the report and the model card draw what is said here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from gradlens.core.names import Name, limits
from gradlens.core.numbers import decimals_for, number
from gradlens.core.table import Table
from gradlens.runs.differences import ONE_CLUSTER
from gradlens.runs.record import Run
from gradlens.stats.clusters import CLUSTER
from gradlens.stats.intervals import at_chance

# What every run has; analyzers add theirs. Spaces before a title set it in below the one that it belongs to.
ACCURACY = (
    ("top-1 (%)", "top1", "on these very images"),
    ("   of the data's classes", "top1_valid", "over the logits of the classes that occur"),
)
STEP = 3
# A space that a page does not swallow.
INDENT = "\u2003"


class Value(NamedTuple):
    """One run's number with its 95 % interval, NaN where there is none; or why it is missing."""

    value: float
    low: float
    high: float
    missing: str = ""

    @property
    def known(self) -> bool:
        return math.isfinite(self.value)

    def text(self, digits: int = 2) -> str:
        """``0.424 ± 0.031``, with so many digits of the uncertainty; a dash where the number is missing."""
        half = (self.high - self.low) / 2
        decimals = decimals_for(half, digits=digits)
        shown = number(self.value, decimals)
        return f"{shown} ± {number(half, decimals)}" if math.isfinite(half) else shown


@dataclass(frozen=True)
class Reading:
    """One number of several runs. depth: how far its title is set in below that of the number it belongs to."""

    title: str
    depth: int
    key: str
    meaning: str
    values: tuple[Value, ...]

    @property
    def known(self) -> bool:
        return any(value.known for value in self.values)


def readings(runs: Sequence[Run]) -> list[Reading]:
    """What the runs' analyzers put first, in order, where some run has the number or says why it has not."""
    rows = dict.fromkeys(map(tuple, [*ACCURACY, *(row for run in runs for row in run.readings)]))
    found = []
    for title, key, meaning in rows:
        values = tuple(_value(run, key) for run in runs)
        depth = (len(title) - len(title.lstrip())) // STEP
        found.append(Reading(title.strip(), depth, key, meaning, values))
    return [reading for reading in found if reading.known or any(value.missing for value in reading.values)]


def table_of(run: Run, details: bool = True, meanings: bool = True) -> Table:
    """The numbers that a run's analyzers put first, each with its 95 % interval.

    details: with the rows that belong to another, whose titles are set in. meanings: print how to read each.
    """
    rows = [row for row in readings([run]) if row.known and (details or not row.depth)]
    frame = pd.DataFrame(
        [(STEP * row.depth * " " + row.title, row.key, *row.values[0][:3], row.meaning) for row in rows],
        columns=["measure", "key", "value", "low", "high", "how to read it"],
    )
    printed = pd.DataFrame(
        {
            "measure": [row.depth * INDENT + row.title for row in rows],
            "value": [row.values[0].text() for row in rows],
            **({"how to read it": [row.meaning for row in rows]} if meanings else {}),
        },
        index=[""] * len(frame),
    )
    images = run.summary.get("images", len(run.samples))
    title = f"{run.label} on {run.summary.get('data')}, {images:,} images; ± 95 % intervals"
    return Table(frame, title, tuple(_on_samples(run, rows)), printed=printed)


def _on_samples(run: Run, rows: Sequence[Reading]) -> Iterator[str]:
    """What the intervals are conditional on, and why a mean may have none."""
    count = run.samples[CLUSTER].nunique() if CLUSTER in run.samples else 0
    if count == 1:
        yield f"no ±: {ONE_CLUSTER}"
        return
    of = f"the images are of {count:,} clusters, which count as the samples: " if count else ""
    yield f"{of}± is for new {'clusters' if count else 'images'} such as these under this very network"
    means = (row.values[0] for row in rows if Name.parse(row.key).stem.endswith("_mean"))
    if any(math.isnan(value.low) for value in means):
        yield "a mean without ± hangs on single images, and t would miss it too often: read its median"


def warnings(run: Run, missing: bool = True) -> list[str]:
    """What a reader must know before believing the numbers; missing: also why numbers are not there."""
    known = [*_of_model(run), *_of_outputs(run.summary), *_of_gradients(run.summary)]
    return [*known, *(_of_missing(run) if missing else ()), *_of_files(run)]


def _of_model(run: Run) -> Iterator[str]:
    model, top1 = run.provenance.get("model", {}), run.summary.get("top1")
    yield from model.get("notes") or ()
    classes = model.get("num_classes")
    if top1 is None or not math.isfinite(top1):
        yield "the images have no labels: gradients are taken at the prediction, accuracy is unknown"
    elif classes and at_chance(*_right_of(run), 1 / classes):
        why = "the class order, the normalisation or the activation is probably wrong, or the model is untrained"
        if str(model.get("weights")).startswith(("random", "cascade")):
            why = "as a control's should be"
        yield f"top-1 {top1:.2f} % is at chance ({100 / classes:.2g} %): {why}"


def _right_of(run: Run) -> tuple[int, int]:
    """How many images are right, and of how many that have a label; of a run without rows from its summary."""
    if "correct" in run.samples:
        return int(run.samples["correct"].sum()), int(run.samples["correct"].count())
    return round(run.summary["top1"] / 100 * run.summary["images"]), run.summary["images"]


def _of_gradients(summary: Mapping[str, Any]) -> Iterator[str]:
    for key, what in (("zero", "exactly zero"), ("underflow", "underflowed"), ("not_finite", "not finite")):
        count = summary.get(f"gradients_{key}", 0)
        if count:
            yield f"{count} gradients are {what}; column gradient_flag marks them"


def _of_outputs(summary: Mapping[str, Any]) -> Iterator[str]:
    if count := summary.get("no_prediction"):
        yield (
            f"the logits of {count:,} of {summary['images']:,} images are NaN or infinite: these have no prediction, "
            "and top-1 and other accuracies count them as wrong"
        )


def _of_missing(run: Run) -> Iterator[str]:
    """The rows that the table lacks, together by their reason; run.json has the reasons of all numbers."""
    rows: dict[str, list[str]] = {}
    path: list[str] = []
    for reading in readings([run]):
        path[reading.depth :] = [reading.title]
        if reason := reading.values[0].missing:
            below = f" ({' '.join(path[1:])})" if reading.depth else ""
            rows.setdefault(reason, []).append(f"{path[0]}{below}")
    for reason, titles in rows.items():
        yield f"no {' · '.join(titles)}: {reason}"


def _of_files(run: Run) -> Iterator[str]:
    if count := run.summary.get("unreadable"):
        yield f"{count} images could not be read and were skipped; run.json lists them"
    if edited := run.provenance.get("edited"):
        yield f"changed after it was measured: {', '.join(edited)}; its numbers are not those of the model"


def _value(run: Run, key: str) -> Value:
    value = run.summary.get(key)
    if value is None or not math.isfinite(value):
        return Value(math.nan, math.nan, math.nan, str((run.provenance.get("missing") or {}).get(key, "")))
    return Value(value, *limits(run.summary, key))
