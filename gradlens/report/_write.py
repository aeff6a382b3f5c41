"""The page: what the other files of this room give, filled into the template, with scripts and style inside."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gradlens.core.files import make_folder, write_atomically
from gradlens.report._check import check_output, check_runs
from gradlens.report._columns import TableOfRun, tables
from gradlens.report._figures import draw_all
from gradlens.report._origin import complete, facts, raw_files
from gradlens.report._pictures import SIDE, Card, cards, data_of
from gradlens.report._readings import compared, reasons, warned
from gradlens.runs.readings import readings
from gradlens.runs.record import Run

SCRIPTS = ("columns.js", "expression.js", "table.js", "page.js")
MOST_NAMED = 4
# Examples beyond these are folded away.
MOST_OPEN = 12
# How to read a number stands beside the values of so many runs, else below its name.
MOST_BESIDE = 3


def write_report(
    runs: Run | Sequence[Run] | Mapping[str, Run | Sequence[Run]],
    path: str | Path,
    *,
    folders: Mapping[str, Path] | None = None,
    title: str | None = None,
) -> Path:
    """Write one HTML file that shows runs without a server, a network or anything beside it.

    runs: one, several, or groups such as training seeds by name, as ``compare`` takes them. folders:
    where the runs of these labels lie, for links to the raw numbers. It holds the numbers that the
    analyzers read first with their 95 % intervals, the comparison of several runs or why there is
    none, every registered figure that the runs can feed, the stored examples, and a row for every
    image: numbers rounded to 1.5e-5 of their size, and as many columns as stay under 8 MB. The same
    runs give the same bytes. Returns the path; raises UserError for runs that lack what every run
    has, and for a path that is no .html or cannot be written.
    """
    file = check_output(path)
    groups = _groups(runs)
    named = [run for group in groups.values() for run in group]
    check_runs(named)
    make_folder(file.parent)
    content = _render(groups, named, file, folders or {}, title)
    # A path on the disk may hold bytes that are no text.
    write_atomically(file, lambda stream: stream.write(content.encode(errors="replace")))
    return file


def _groups(runs: Run | Sequence[Run] | Mapping[str, Run | Sequence[Run]]) -> dict[str, list[Run]]:
    """Runs by group; a run of a named group takes its name, numbered where it has several."""
    if isinstance(runs, Run):
        return {runs.label: [runs]}
    if not isinstance(runs, Mapping):
        check_runs(runs)
        return {run.label: [run] for run in runs}
    listed = {name: [group] if isinstance(group, Run) else list(group) for name, group in runs.items()}
    return {
        name: [run.named(name if len(group) == 1 else f"{name} {k}") for k, run in enumerate(group, 1)]
        for name, group in listed.items()
    }


def _render(
    groups: Mapping[str, Sequence[Run]],
    runs: Sequence[Run],
    file: Path,
    folders: Mapping[str, Path],
    title: str | None,
) -> str:
    labels = [run.label for run in runs]
    drawn, absent = draw_all(runs)
    listed = tables(runs)
    kept = cards(runs)
    said, blocks = _embedded(runs, listed, kept)
    page = {
        "title": title or _title(runs),
        "lead": _lead(runs),
        "labels": labels,
        "warned": warned(runs),
        "readings": [(row, reasons(row, runs)) for row in readings(runs)],
        "most_beside": MOST_BESIDE,
        "comparison": compared(groups),
        "drawn": drawn,
        "absent": absent,
        "cards": kept,
        "most_open": MOST_OPEN,
        "looks_a_card": 1 + max((len(card.looks) for card in kept), default=0),
        "side": SIDE,
        "shrunk": any(max(run.examples["image"].shape[2:]) > SIDE for run in runs if run.examples),
        "example_condition": _example_condition(runs[0]),
        "files": {run.label: found for run in runs if (found := raw_files(folders.get(run.label), file))},
        "facts": facts(runs),
        "complete": [(run.label, complete(run)) for run in runs],
        "hashes": ", ".join(f"{run.label} {run.hash}" for run in runs),
        "runs": said,
        "blocks": blocks,
    }
    return _template().render(page | _inside())


def _embedded(
    runs: Sequence[Run], listed: Sequence[TableOfRun], kept: Sequence[Card]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """What the scripts read of every run, and the blocks of its columns: name by content, so that none is twice."""
    said: list[dict[str, Any]] = []
    blocks: dict[str, str] = {}
    for number, (run, table) in enumerate(zip(runs, listed, strict=True)):
        columns = []
        for column in table.columns:
            parts = {"numbers": column.encoded.numbers, "words": column.encoded.words}
            places = {part: blocks.setdefault(text, f"block-{len(blocks)}") for part, text in parts.items() if text}
            about = {"name": column.name, "kind": column.encoded.kind, "shown": column.shown, "meaning": column.meaning}
            columns.append({**about, **places})
        on_cards = [(look.row, place) for place, card in enumerate(kept) for look in card.looks if look.run == number]
        about_run = {"label": run.label, "data": str(data_of(run)), "rows": table.rows}
        said.append({**about_run, "columns": columns, "left_out": table.left_out, "cards": on_cards})
    return said, blocks


def _inside() -> dict[str, Any]:
    """Style and scripts as text, and the policy that lets a browser run them and nothing else."""
    place = files("gradlens.report") / "page"
    style = (place / "style.css").read_text(encoding="utf-8")
    script = '"use strict";\n' + "\n".join((place / name).read_text(encoding="utf-8") for name in SCRIPTS)
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src '{_hash(script)}'",
            f"style-src '{_hash(style)}'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    return {"style": Markup(style), "script": Markup(script), "policy": Markup(policy)}


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("gradlens.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def _title(runs: Sequence[Run]) -> str:
    labels = [run.label for run in runs]
    named = ", ".join(labels[:-1]) + f" and {labels[-1]}" if 1 < len(labels) <= MOST_NAMED else f"{len(labels)} models"
    data = dict.fromkeys(str(run.summary.get("data", "data")) for run in runs)
    return f"{labels[0] if len(labels) == 1 else named} on {', '.join(data)}"


def _lead(runs: Sequence[Run]) -> str:
    counts = ", ".join(dict.fromkeys(f"{len(run.samples):,}" for run in runs))
    return f"Gradients with respect to the natural input, per unit pixel of images in [0, 1]; {counts} images."


def _example_condition(run: Run) -> str:
    for column in ("l1", "loss", "confidence"):
        if column in run.samples:
            middle = run.samples[column].quantile(0.9)
            return f"{column} > {middle:.2g}" + (" and correct" if "correct" in run.samples else "")
    return "index < 100"
