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

# As in analyses/presets/digits-*.toml.
RECIPES: dict[str, dict[str, Any]] = {
    "natural": {"label_smoothing": 0.05},
    "gradnorm": {"penalty": "gradnorm:eps=0.1,alpha=0,step=.6,cap=3", "clip": 1.0, "label_smoothing": 0.05},
    "edge": {"penalty": "edge:alpha=1.5,step=.45,cap=15", "clip": 1.0},
}
ANALYZERS = "sample_asymmetry,channel_asymmetry,edge_concentration,class_selectivity,robustness:eps=0.05"
COMPARED = ("loss", "l1", "share_g", "edge_partial_contour", "edge_auc_canny", "robust[pgd10,linf,0.05]")
FIGURES = (
    *("gradient_gallery", "gradient_norm_distribution", "channel_distribution"),
    *("edge_overlay", "edge_concentration", "edge_profile"),
)
MARK = "natural.pt"


def demo(out: Path, epochs: int = 30) -> dict[str, Any]:
    """Train, save, open again as a user would, analyze, compare and draw; returns what it wrote."""
    console = Console()
    _clear(out)
    console.print("[bold]1.[/bold] training three small GELU networks on scikit-learn's digits")
    checkpoints = {name: _trained(console, name, out, epochs) for name in RECIPES}
    console.print("[bold]2.[/bold] opening them again, and analyzing the test images")
    test = load_data("digits", "test")
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


def recipe(name: str, out: Path, epochs: int = 30) -> TrainConfig:
    """Of the preset digits-NAME, with one small evaluation at its end."""
    common: dict[str, Any] = {
        **{"data": "digits", "arch": "digits_cnn", "epochs": epochs, "lr": 4e-3, "shift": 2},
        **{"warmup_epochs": min(5, epochs - 1), "eval_eps": 0.05, "eval_every": epochs, "eval_images": 100},
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
  how far it withstands attacks gradlens analyze {out / "edge.pt"} --data digits --analyzers minimal_eps --limit 50
  your own images               gradlens analyze {out / "edge.pt"} --data FOLDER
  in Python                     run = gl.Run.load("{out / "edge"}"); run.top("l1", 8).samples
  all measures and figures      gradlens list""",
        highlight=False,
        soft_wrap=True,
    )
