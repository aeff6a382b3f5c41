"""``gradlens demo``: from nothing to three checkpoints, their runs, a comparison and figures on embedded data."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from gradlens.analysis.analyze import analyze
from gradlens.cli.terminal import print_runs
from gradlens.core.files import make_folder
from gradlens.core.types import UserError
from gradlens.data import load_data
from gradlens.models import load_model
from gradlens.plotting import draw, save
from gradlens.report import write_report
from gradlens.runs.comparison import compare
from gradlens.runs.record import Run
from gradlens.training.config import TrainConfig
from gradlens.training.train import train

# As in analyses/presets/photos-*.toml; the third was chosen by analyses/demo_recipes.py.
RECIPES: dict[str, dict[str, Any]] = {
    "natural": {"label_smoothing": 0.05},
    "gradnorm": {"penalty": "gradnorm:eps=.02,alpha=0,step=.25,cap=1", "label_smoothing": 0.05, "clip": 1.0},
    "edge": {
        "penalty": "edge:form=saliency,objective=loss,batchwise=False,alpha=1,step=.3,cap=3",
        "clip": 1.0,
    },
}
ANALYZERS = "sample_asymmetry,channel_asymmetry,edge_concentration,class_selectivity,robustness:eps=4/255"
# Where the gradient lies is told by Canny's edges, and the penalty pulled it to contour energy.
COMPARED = ("loss", "l1", "share_g", "edge_auc_canny", "edge_auc_canny_local", "robust[pgd10,linf,4/255]")
FIGURES = (
    *("gradient_gallery", "gradient_norm_distribution", "channel_distribution"),
    *("edge_overlay", "edge_concentration", "edge_profile"),
)
MARK = "natural.pt"


def demo(out: Path, epochs: int = 8) -> dict[str, Any]:
    """Train, save, open again as a user would, analyze, compare and draw; returns what it wrote."""
    console = Console()
    _clear(out)
    console.print("[bold]1.[/bold] training three small GELU networks to tell eight photographs by their crops")
    checkpoints = {name: _trained(console, name, out, epochs) for name in RECIPES}
    console.print("[bold]2.[/bold] opening them again, and analyzing the test images")
    test = load_data("photos", "test")
    folders = [out / name for name in RECIPES]
    chosen = ANALYZERS.split(",")
    runs = [analyze(load_model(checkpoints[f.name]), test, chosen, out=f) for f in folders]
    print_runs(runs, folders)
    table = compare(dict(zip(RECIPES, runs, strict=True)), columns=COMPARED)
    table.show()
    console.print("[bold]3.[/bold] drawing")
    files = [_figure(spec, runs, out) for spec in FIGURES]
    table.save(out / "comparison.csv")
    report = write_report(runs, out / "report.html", folders=dict(zip(RECIPES, folders, strict=True)))
    console.print(f"   {len(files)} figures in {out / 'figures'}, all of it in {report}")
    _where_to_look(console, out)
    return {
        "checkpoints": [str(c) for c in checkpoints.values()],
        "runs": [str(f) for f in folders],
        "figures": [str(f) for f in files],
        "report": str(report),
    }


def recipe(name: str, out: Path, epochs: int = 8) -> TrainConfig:
    """Of the preset photos-NAME, with one small evaluation at its end."""
    common: dict[str, Any] = {
        **{"data": "photos", "arch": "digits_cnn:width=8", "img_size": 32, "epochs": epochs, "lr": 4e-3},
        **{"shift": 2, "flip": 0.5, "warmup_epochs": min(2, epochs - 1), "eval_every": epochs, "eval_images": 100},
    }
    return TrainConfig(**common, **RECIPES[name], out=out)


def _clear(out: Path) -> None:
    """Replace an earlier demo, and nothing else."""
    if out.exists() and any(out.iterdir()) and not (out / MARK).exists():
        raise UserError(f"{out} holds something other than a demo; choose another folder with -o")
    if out.exists():
        shutil.rmtree(out)
    make_folder(out)


def _trained(console: Console, name: str, out: Path, epochs: int) -> Path:
    start, checkpoint = time.monotonic(), out / f"{name}.pt"
    shutil.copy(train(recipe(name, out / "training" / name, epochs)).checkpoint, checkpoint)
    console.print(f"   saved {checkpoint} after {time.monotonic() - start:.0f} s")
    return checkpoint


def _figure(spec: str, runs: list[Run], out: Path) -> Path:
    return save(draw(spec, runs), out / "figures" / f"{spec.partition(':')[0]}.pdf", runs)


def _where_to_look(console: Console, out: Path) -> None:
    console.print(
        f"""
[bold]Where to look next[/bold]
  open the report in a browser  {out / "report.html"}
  what is in a checkpoint       gradlens info {out / "edge.pt"}
  how far it withstands attacks gradlens analyze {out / "edge.pt"} --data photos --analyzers minimal_eps --limit 50
  your own images               gradlens analyze {out / "edge.pt"} --data FOLDER
  in Python                     run = gl.Run.load("{out / "edge"}"); run.top("l1", 8).samples
  all measures and figures      gradlens list""",
        highlight=False,
        soft_wrap=True,
    )
