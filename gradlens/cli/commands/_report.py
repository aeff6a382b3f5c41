"""``gradlens report``: finished runs as one HTML file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from gradlens.cli.options import Common
from gradlens.cli.terminal import say
from gradlens.core.registry import command
from gradlens.core.types import UserError

if TYPE_CHECKING:
    from gradlens.runs.record import Run


@command
@dataclass(frozen=True, kw_only=True)
class Report(Common):
    """Write finished runs as one HTML file: numbers, figures, examples and a table of the images."""

    runs: Positional[tuple[Path, ...]]
    """Run folders; several are compared."""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """The .html file. Default: report.html in the run's folder, or here for several runs."""
    labels: str | None = None
    """Names to show instead of the models' own, such as natural,robust."""
    models: Path | None = None
    """A models.toml whose order and colours the figures take."""
    allow_edited: bool = False
    """Report runs whose files were changed after they were measured."""

    def run(self) -> dict[str, Any]:
        from gradlens.report import write_report

        runs = self._loaded()
        out = self.out or (self.runs[0] / "report.html" if len(runs) == 1 else Path("report.html"))
        folders = {run.label: folder for run, folder in runs}
        file = write_report([run for run, _ in runs], out, folders=folders)
        say(f"wrote {file} ({file.stat().st_size / 1e6:.1f} MB); open it in a browser")
        return {"report": str(file)}

    def _loaded(self) -> list[tuple[Run, Path]]:
        """The runs with their folders, named and ordered as asked."""
        from gradlens.runs.manifest import as_manifest, read_manifest
        from gradlens.runs.record import Run

        runs = [Run.load(folder, self.allow_edited) for folder in self.runs]
        labels = self.labels.split(",") if self.labels else [run.label for run in runs]
        if len(labels) != len(runs):
            raise UserError(f"--labels names {len(labels)} runs, and {len(runs)} are given; name each of them once")
        named = [run.named(label) for run, label in zip(runs, labels, strict=True)]
        pairs = list(zip(named, self.runs, strict=True))
        if not self.models:
            return pairs
        folders = {run.label: folder for run, folder in pairs}
        return [(run, folders[run.label]) for run in as_manifest(named, read_manifest(self.models))]
