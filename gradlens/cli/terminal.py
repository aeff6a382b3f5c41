"""What the commands print: tables that say how to read their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gradlens.runs.readings import with_interval
from gradlens.runs.record import Run

# Row title, key of the summary, how to read it; analyzers add theirs.
ACCURACY = (
    ("top-1 (%)", "top1", "on these very images"),
    ("   of the data's classes", "top1_valid", "over the logits of the classes that occur"),
)
WIDE = 100


def print_runs(runs: Sequence[Run], folders: Sequence[Path]) -> None:
    """The runs side by side, a column each, with the meaning of each number and the warnings."""
    console = Console()
    title = f"{runs[0].summary['data']}, {runs[0].summary['images']:,} images, ± 95 % intervals"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    for run in runs:
        table.add_column(run.label, justify="right", no_wrap=True)
    wide = console.width >= WIDE
    # Three models of two digits each are wider than a terminal of 80 columns.
    digits = 2 if wide else 1
    if wide:
        table.add_column("how to read it", style="dim")
    rows = dict.fromkeys(map(tuple, [*ACCURACY, *(reading for run in runs for reading in run.readings)]))
    for title, key, meaning in rows:
        if any(_known(run.summary.get(key)) for run in runs):
            table.add_row(
                escape(title),
                *(with_interval(run.summary, key, digits) for run in runs),
                *([escape(meaning)] if wide else []),
            )
    console.print(table)
    if not wide:
        console.print(f"[dim]how to read each number: widen the terminal to {WIDE} columns, or gradlens list analyzers")
    warned: dict[str, list[str]] = {}
    for run in runs:
        for warning in warnings(run):
            warned.setdefault(warning, []).append(run.label)
    for warning, labels in warned.items():
        console.print(f"[bold yellow]{escape(', '.join(labels))}: {escape(warning)}")
    for run, folder in zip(runs, folders, strict=True):
        console.print(f"[dim]{run.label}:[/dim] {folder}", soft_wrap=True, highlight=False)


def warnings(run: Run) -> list[str]:
    """What a reader must know before believing the numbers."""
    summary, model = run.summary, run.provenance.get("model", {})
    found = list(model.get("notes") or ())
    classes, top1 = model.get("num_classes"), summary.get("top1")
    if not _known(top1):
        found.append("the images have no labels: gradients are taken at the prediction, accuracy is unknown")
    elif classes and top1 < 100 / classes + 300 * math.sqrt((1 / classes) / summary["images"]):
        why = "the class order, the normalisation or the activation is probably wrong, or the model is untrained"
        if str(model.get("weights")).startswith(("random", "cascade")):
            why = "as a control's should be"
        found.append(f"top-1 {top1:.2f} % is at chance ({100 / classes:.2g} %): {why}")
    for key, what in (("zero", "exactly zero"), ("underflow", "underflowed"), ("not_finite", "not finite")):
        count = summary.get(f"gradients_{key}", 0)
        if count:
            found.append(f"{count} gradients are {what}; column gradient_flag marks them")
    found += [f"no {' · '.join(titles)}: {reason}" for reason, titles in _missing(run).items()]
    if summary.get("unreadable"):
        found.append(f"{summary['unreadable']} images could not be read and were skipped; run.json lists them")
    return found


def _missing(run: Run) -> dict[str, list[str]]:
    """The rows that the table lacks, by the reason; run.json has the reasons of all numbers."""
    missing = run.provenance.get("missing") or {}
    rows: dict[str, list[str]] = {}
    above = ""
    for title, key, _ in run.readings:
        above = above if title.startswith(" ") else title
        if key in missing:
            name = title if title == above else f"{above} ({title.strip()})"
            rows.setdefault(missing[key], []).append(name)
    return rows


def print_facts(title: str, facts: Mapping[str, Any]) -> None:
    """A name and a value a line."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), str(value))
    Console().print(table)


def print_methods(listed: Mapping[str, Mapping[str, str]]) -> None:
    """Names with the first sentence of each, by kind."""
    console = Console()
    for kind, methods in listed.items():
        table = Table(title=kind.replace("_", " "), title_justify="left", show_header=False, box=None, padding=(0, 2))
        for name, claim in methods.items():
            table.add_row(f"[bold]{name}", claim)
        console.print(table, "")


def _known(value: Any) -> bool:
    return value is not None and math.isfinite(value)
