"""``gradlens examples``: gradients of chosen images, added to a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from gradlens.cli.options import Common, DataOptions, ModelsOptions, indices, run_folders
from gradlens.cli.terminal import say
from gradlens.core.registry import command


@command
@dataclass(frozen=True, kw_only=True)
class Examples(Common, ModelsOptions, DataOptions):
    """Keep the raw gradients of the same images for every model, for galleries."""

    images: str
    """Indices of the images, such as 3,17,42."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """Folder with a run for each model."""

    def run(self) -> dict[str, Any]:
        from gradlens.analysis.analysis import Settings
        from gradlens.analysis.analyze import analyze_all

        chosen = indices(self.images)
        data = self.open().subset(chosen)
        models = self.chosen()
        folders = run_folders(list(models), self.out, data.source.name.replace("/", "-"))
        settings = Settings(examples=len(chosen))
        measures = "sample_asymmetry,edge_concentration"
        analyze_all([load() for load in models.values()], data, measures, folders, settings, progress=False)
        say(f"kept {len(chosen)} images of {data.name}; draw them with")
        say(f"  gradlens figure gradient_gallery {' '.join(map(str, folders))} -o gallery.pdf")
        return {"folders": [str(f) for f in folders], "images": chosen}
