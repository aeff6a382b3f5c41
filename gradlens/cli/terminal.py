"""What the commands print: tables that say how to read their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradlens.core.names import exactly
from gradlens.core.text import markup, one_line

if TYPE_CHECKING:
    from gradlens.runs.record import Run

# Columns of a terminal: at least, of titles and meanings, and of a run.
WIDE, READING, COLUMN = 100, 72, 14


def say(text: object) -> None:
    """One line on the screen, whatever is in the names that it holds."""
    print(one_line(text))


def print_runs(runs: Sequence[Run], folders: Sequence[Path]) -> None:
    """The runs side by side, a column each, with the meaning of each number and the warnings."""
    # Late, since a list of methods wants no pandas.
    from gradlens.runs.readings import STEP, readings

    console = Console()
    sizes = " and ".join(dict.fromkeys(f"{run.summary.get('img_size')} px" for run in runs))
    title = f"{runs[0].summary['data']}, {runs[0].summary['images']:,} images at {sizes}, ± 95 % intervals"
    table = Table(title=markup(title), title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    for run in runs:
        table.add_column(markup(run.label), justify="right", no_wrap=True)
    enough = max(WIDE, READING + COLUMN * len(runs))
    wide = console.width >= enough
    # Three models of two digits each are wider than a terminal of 80 columns.
    digits = 2 if wide else 1
    if wide:
        table.add_column("how to read it", style="dim")
    for row in readings(runs):
        if row.known:
            meaning = [markup(row.meaning)] if wide else []
            table.add_row(STEP * row.depth * " " + markup(row.title), *(v.text(digits) for v in row.values), *meaning)
    console.print(table)
    if not wide:
        console.print(f"[dim]how to read each number: widen the terminal to {enough} columns, or gradlens list NAME")
    _print_warnings(console, runs)
    for run, folder in zip(runs, folders, strict=True):
        console.print(f"[dim]{markup(run.label)}:[/dim] {markup(folder)}", soft_wrap=True, highlight=False)


def _print_warnings(console: Console, runs: Sequence[Run]) -> None:
    """Each once, with the runs that it holds for."""
    from gradlens.runs.readings import warnings

    warned: dict[str, list[str]] = {}
    for run in runs:
        for warning in warnings(run):
            warned.setdefault(warning, []).append(run.label)
    for warning, labels in warned.items():
        console.print(f"[bold yellow]{markup(', '.join(labels))}: {markup(warning)}")


def print_facts(title: str, facts: Mapping[str, Any]) -> None:
    """A name and a value a line."""
    table = Table(title=markup(title), title_justify="left", show_header=False, box=None, padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), markup(value))
    Console().print(table)


def print_methods(listed: Mapping[str, Mapping[str, str]]) -> None:
    """Names with the first sentence of each, by kind."""
    console = Console()
    for kind, methods in listed.items():
        table = Table(title=kind.replace("_", " "), title_justify="left", show_header=False, box=None, padding=(0, 2))
        for name, claim in methods.items():
            table.add_row(f"[bold]{markup(name)}", markup(claim))
        console.print(table, "")


def print_method(kind: str, name: str, parameters: Mapping[str, Any], text: str) -> None:
    """A method with its parameters as it is asked for, their defaults, and its docstring as plain prose."""
    console = Console()
    # An axes can only be given in Python.
    spelled = ",".join(f"{key}={_spelled(value)}" for key, value in parameters.items() if key != "ax")
    console.print(f"[dim]{markup(kind.replace('_', ' '))}[/dim]  [bold]{markup(f'{name}:{spelled}'.rstrip(':'))}\n")
    for paragraph in text.replace("``", "").split("\n\n"):
        console.print(Text(one_line(paragraph)), end="\n\n")


def _spelled(value: Any) -> str:
    """As a parameter is written behind a name."""
    return exactly(value) if isinstance(value, float) else str(value).lower() if value in (None, True, False) else value
