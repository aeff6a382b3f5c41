"""The page: what the other files of this room give, filled into the template, with script and style inside."""

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
from gradlens.core.text import visible
from gradlens.core.types import UserError
from gradlens.report._check import grouped
from gradlens.report._origin import complete, facts, raw_files
from gradlens.report._pictures import SIDE, cards, draw_all
from gradlens.report._tables import MOST_ROWS, compared, images, reasons
from gradlens.runs.readings import readings, warnings
from gradlens.runs.record import Run

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
    none, every registered figure that the runs can feed, the stored examples, and a sortable table
    of the first 1,000 images. The same runs give the same bytes. Returns the path; raises UserError
    for runs that lack what every run has, and for a path that is no .html or cannot be written.
    """
    file = Path(path)
    if file.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"cannot write a report as '{file.name}'; give a name that ends in .html")
    groups = grouped(runs)
    make_folder(file.parent)
    content = _render(groups, file, folders or {}, title)
    # A path on the disk may hold bytes that are no text.
    write_atomically(file, lambda stream: stream.write(content.encode(errors="replace")))
    return file


def _render(groups: Mapping[str, Sequence[Run]], file: Path, folders: Mapping[str, Path], title: str | None) -> str:
    runs = [run for group in groups.values() for run in group]
    drawn, absent = draw_all(runs)
    return _template().render(
        title=title or _title(runs),
        labels=[run.label for run in runs],
        images=[images(run) for run in runs],
        # Missing numbers are said where the numbers are.
        warned=[(run.label, warning) for run in runs for warning in warnings(run, missing=False)],
        readings=[(row, reasons(row, runs)) for row in readings(runs)],
        comparison=compared(groups),
        drawn=drawn,
        absent=absent,
        cards=cards(runs),
        shrunk=any(max(run.examples["image"].shape[2:]) > SIDE for run in runs if run.examples),
        files={run.label: found for run in runs if (found := raw_files(folders.get(run.label), file))},
        facts=facts(runs),
        complete=[(run.label, complete(run)) for run in runs],
        hashes=", ".join(f"{run.label} {run.hash}" for run in runs),
        **{"most_beside": MOST_BESIDE, "most_open": MOST_OPEN, "most_rows": MOST_ROWS, "side": SIDE},
        **_inside(),
    )


def _title(runs: Sequence[Run]) -> str:
    labels = [run.label for run in runs]
    named = ", ".join(labels[:-1]) + f" and {labels[-1]}" if 1 < len(labels) <= MOST_NAMED else f"{len(labels)} models"
    data = dict.fromkeys(str(run.summary.get("data", "data")) for run in runs)
    return f"{labels[0] if len(labels) == 1 else named} on {', '.join(data)}"


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader("gradlens.report", "page"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def _shown(value: Any) -> Any:
    """Names from files turn no line around and send nothing to a terminal that shows the page's source."""
    return visible(value) if type(value) is str else value


def _inside() -> dict[str, Markup]:
    """Style and script as text, and the policy that lets a browser run them and nothing else."""
    place = files("gradlens.report") / "page"
    style, script = ((place / name).read_text(encoding="utf-8") for name in ("style.css", "page.js"))
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return {"style": Markup(style), "script": Markup(script), "policy": Markup(policy)}


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
