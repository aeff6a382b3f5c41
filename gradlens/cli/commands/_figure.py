"""``gradlens figure``: one figure from finished runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from gradlens.cli.options import Common
from gradlens.cli.terminal import say
from gradlens.core.names import parse_spec
from gradlens.core.registry import command
from gradlens.core.registry import figure as figures
from gradlens.core.text import csv
from gradlens.core.types import UserError


@command
@dataclass(frozen=True, kw_only=True)
class Figure(Common):
    """Draw a figure from finished runs; needs no model, data or torch."""

    name: Positional[str]
    """A figure's name with options, such as gradient_gallery:scale=image; see `gradlens list figures`."""
    runs: Positional[tuple[Path, ...]]
    """Folders of runs, or of trainings, in the order of the figure's columns or curves."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """The file to write: .pdf, .png or .svg."""
    venue: str = "neurips"
    """Whose width: aaai, aistats, cvpr, eccv, iccv, iclr, icml, jmlr, neurips, tmlr, uai or wacv."""
    columns: int = 2
    """1: as wide as a column of the venue, 2: as its text."""
    labels: str | None = None
    """Names to show instead of the models' own, one for each run: natural,robust."""
    order: str | None = None
    """Which of these names come first, in this order."""
    select: str | None = None
    """Which of these names to draw; each keeps its colour."""
    models: Path | None = None
    """A models.toml whose order and colours the figure takes."""
    where: str | None = None
    """Only images for which this holds, such as "correct and confidence > 0.9"."""
    font_size: float = 8
    """Points of titles and axes; ticks, legends and the note keep their proportion."""
    height: float | None = None
    """Inches; without it, what the figure needs."""
    no_note: bool = False
    """Leave out the lines below the figure, which --caption has in any case."""
    shared_scale: bool = False
    """Galleries of gradients: one scale for all models of an image, in the place of each on its own."""
    data: Path | None = None
    """A .csv for the numbers that are drawn."""
    caption: bool = False
    """Print a caption to start from, and write it beside the figure as .txt."""
    allow_edited: bool = False
    """Draw runs whose files were changed after they were measured."""

    def run(self) -> dict[str, Any]:
        from gradlens.plotting import arrange, caption, check_format, draw, numbers, save
        from gradlens.plotting.style import width

        check_format(self.out)
        width(self.venue, self.columns)
        if self.data and self.data.suffix.lower() != ".csv":
            raise UserError(f"cannot write numbers as '{self.data.name}'; give a name that ends in .csv")
        runs = arrange(self._runs(), _split(self.labels), _split(self.order), _split(self.select))
        look: dict[str, Any] = {"venue": self.venue, "columns": self.columns, "order": [run.label for run in runs]}
        look |= {"font_size": self.font_size, "height": self.height, "note": not self.no_note}
        look |= {"scale": "shared"} if self.shared_scale else {}
        drawn = draw(self.name, runs, **look)
        written = {"figure": save(drawn, self.out, runs)}
        if self.data:
            written["data"] = _write(self.data, csv(numbers(drawn)))
        if self.caption:
            text = caption(drawn, runs, self.where)
            say(text)
            written["caption"] = _write(self.out.with_suffix(".txt"), f"{text}\n")
        say(f"wrote {', '.join(map(str, written.values()))}")
        return {what: str(file) for what, file in written.items()}

    def _runs(self) -> list[Any]:
        """What the folders hold, checked to be of one contract."""
        from gradlens.plotting.style import remember
        from gradlens.runs.differences import check_comparable
        from gradlens.runs.history import check_kind, load_drawable
        from gradlens.runs.manifest import as_manifest, read_manifest
        from gradlens.runs.record import Run

        name = parse_spec(self.name)[0]
        method = figures[name]
        if not self.runs:
            raise UserError(f"figure {name} needs a run to draw; give the folder of an analysis")
        given = [load_drawable(folder, self.where, self.allow_edited) for folder in self.runs]
        check_kind(name, method, given)
        runs = [run for run in given if isinstance(run, Run)]
        for note in check_comparable(runs) if runs else ():
            say(f"note: {note}")
        if not self.models:
            return given
        entries = read_manifest(self.models)
        # So a model has one colour in all figures of a manifest, also in those of some of its models.
        remember(entry.label for entry in entries)
        # In the order given, which --labels follow; the manifest's is a look that comes after them.
        shown = as_manifest(runs, entries)
        places = {run.label: (place, run) for place, run in enumerate(shown)}
        return [places[run.label][1].displayed(order=places[run.label][0]) for run in runs]


def _split(names: str | None) -> list[str] | None:
    return [name.strip() for name in names.split(",")] if names else None


def _write(file: Path, text: str) -> Path:
    from gradlens.core.files import make_folder, write_atomically

    make_folder(file.parent)
    write_atomically(file, lambda stream: stream.write(text.encode()))
    return file
