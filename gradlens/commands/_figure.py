from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from gradlens._options import Common
from gradlens._registry import command
from gradlens._types import UserError


@command
@dataclass(frozen=True, kw_only=True)
class Figure(Common):
    """Draw a figure from finished runs; needs no model, data or torch."""

    name: Positional[str]
    """A figure's name with options, such as gradient_gallery:scale=image; see `gradlens list figures`."""
    runs: Positional[tuple[Path, ...]]
    """Run folders, in the order of the figure's columns or curves."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """The file to write: .pdf, .png or .svg."""
    venue: str = "neurips"
    """Whose text width: cvpr, eccv, iclr, icml, neurips or tmlr."""
    labels: str | None = None
    """Names to show instead of the models' own, such as natural,robust."""
    models: Path | None = None
    """A models.toml whose order and colours the figure takes."""
    where: str | None = None
    """Only images for which this holds, such as "correct and confidence > 0.9"."""

    def run(self) -> dict[str, Any]:
        from gradlens._manifest import as_manifest, read_manifest
        from gradlens._results import Run
        from gradlens.plotting import draw, save

        if not self.runs:
            raise UserError(f"figure {self.name} needs a run to draw; give the folder of an analysis")
        runs = [Run.load(r).select(self.where) for r in self.runs]
        if self.models:
            runs = as_manifest(runs, read_manifest(self.models))
        for run, label in zip(runs, self.labels.split(",") if self.labels else (), strict=False):
            run.summary["model"] = label
        file = save(draw(self.name, runs, venue=self.venue), self.out, runs)
        print(f"wrote {file}")
        return {"figure": str(file)}
