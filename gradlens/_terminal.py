"""What the commands print: tables that say how to read their numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gradlens._results import Run

# Row title, key of the summary, how to read it.
ROWS = (
    ("top-1 (%)", "top1", "on these very images"),
    ("   of the data's classes", "top1_valid", "over the logits of the classes that occur"),
    ("L1 norm, mean", "l1_mean", "nats per unit pixel; ε · L1 is an attack's first-order gain"),
    ("   correct", "l1_mean_correct", ""),
    ("   wrong", "l1_mean_wrong", ""),
    ("   median", "l1_median", "far below the mean: few images hold most"),
    ("   Gini", "l1_gini", "0 all images equal, 1 one holds everything"),
    ("AUC of wrong, L1", "l1_auc_wrong", "0.5 says nothing, 1 separates"),
    ("   the loss's own", "loss_auc_wrong", "what L1 must be compared with"),
    ("share R", "share_r_mean", "1/3 when even"),
    ("share G", "share_g_mean", ""),
    ("share B", "share_b_mean", ""),
    ("luminance coherence", "luminance_coherence_mean", "1 channels agree, 1/3 independent"),
    ("edge correlation", "edge_corr_contour_mean", "of log |g| with log contour energy"),
    ("   beyond null", "edge_corr_contour_excess", "0: as on other images' edges"),
    ("edge AUC", "edge_auc_canny_mean", "0.5 says nothing"),
    ("   beyond null", "edge_auc_canny_excess", ""),
    ("edge mass", "edge_mass_canny_mean", "0 no more than the edges' area, 1 all"),
    ("   beyond null", "edge_mass_canny_excess", ""),
    ("class selectivity", "class_selectivity_mean", "0 none, 1 one class a unit; biased up by few images"),
    ("ω² of class", "omega_squared_mean", "share of a unit's variance; unbiased"),
)
WIDE = 100


def print_runs(runs: Sequence[Run], folders: Sequence[Path]) -> None:
    """The runs side by side, a column each, with the meaning of each number and the warnings."""
    console = Console()
    title = f"{runs[0].summary['data']}, {runs[0].summary['images']:,} images, ± 95 % intervals"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for run in runs:
        table.add_column(run.label, justify="right", no_wrap=True)
    wide = console.width >= WIDE
    if wide:
        table.add_column("how to read it", style="dim")
    for title, key, meaning in ROWS:
        if any(_known(run.summary.get(key)) for run in runs):
            table.add_row(title, *(_cell(run.summary, key) for run in runs), *([meaning] if wide else []))
    console.print(table)
    if not wide:
        console.print(f"[dim]how to read each number: widen the terminal to {WIDE} columns, or gradlens list analyzers")
    for run, folder in zip(runs, folders, strict=True):
        for warning in warnings(run):
            console.print(f"[bold yellow]{run.label}: {warning}")
        console.print(f"[dim]{run.label}:[/dim] {folder}", soft_wrap=True, highlight=False)


def warnings(run: Run) -> list[str]:
    """What a reader must know before believing the numbers."""
    summary, model = run.summary, run.provenance.get("model", {})
    found = list(model.get("notes") or ())
    classes, top1 = model.get("num_classes"), summary.get("top1")
    if not _known(top1):
        found.append("the images have no labels: gradients are taken at the prediction, accuracy is unknown")
    elif classes and top1 < 100 / classes + 300 * math.sqrt((1 / classes) / summary["images"]):
        found.append(
            f"top-1 {top1:.2f} % is at chance ({100 / classes:.2g} %): the class order, the normalisation or the "
            "activation is probably wrong, or the model is untrained"
        )
    for key, what in (("zero", "exactly zero"), ("underflow", "underflowed"), ("not_finite", "not finite")):
        count = summary.get(f"gradients_{key}", 0)
        if count:
            found.append(f"{count} gradients are {what}; column gradient_flag marks them")
    if summary.get("unreadable"):
        found.append(f"{summary['unreadable']} images could not be read and were skipped; run.json lists them")
    return found


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


def _cell(summary: Mapping[str, Any], key: str) -> str:
    value = summary.get(key)
    if value is None or not math.isfinite(value):
        return "–"
    stem = key.removesuffix("_mean")
    low, high = summary.get(f"{stem}_low"), summary.get(f"{stem}_high")
    if key.startswith("l1_mean"):
        low, high = summary.get(f"{key}_low"), summary.get(f"{key}_high")
    half = "" if low is None or high is None else f" ± {(high - low) / 2:.2g}"
    return f"{value:.4g}{half}"


def _known(value: Any) -> bool:
    return value is not None and math.isfinite(value)
