"""``gradlens demo``: from nothing to a checkpoint, a run, a table and figures on embedded data."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from gradlens._files import make_folder
from gradlens._results import Run
from gradlens._run import analyze
from gradlens._terminal import print_runs
from gradlens._types import UserError
from gradlens.data import load_data
from gradlens.models import load_model
from gradlens.plotting import draw, save
from gradlens.training._config import TrainConfig
from gradlens.training._loop import train

FIGURES = (
    "gradient_gallery",
    "gradient_norm_distribution",
    "channel_distribution",
    "edge_overlay",
    "edge_concentration",
)


def demo(out: Path, epochs: int = 30) -> dict[str, Any]:
    """Train, save, open again as a user would, analyze and draw; returns what it wrote."""
    console = Console()
    _clear(out)
    console.print("[bold]1.[/bold] training a small GELU network on scikit-learn's digits")
    start = time.monotonic()
    checkpoint = out / "digits.pt"
    _train(checkpoint, epochs)
    console.print(f"   saved {checkpoint} after {time.monotonic() - start:.0f} s")
    console.print("[bold]2.[/bold] opening it again, and analyzing the test images and an untrained twin")
    test = load_data("digits", "test")
    models = [load_model(checkpoint), load_model(checkpoint, weights="random")]
    folders = [out / model.card.name for model in models]
    runs = [analyze(model, test, out=folder) for model, folder in zip(models, folders, strict=True)]
    print_runs(runs, folders)
    console.print("[bold]3.[/bold] drawing")
    files = [_figure(spec, runs, out) for spec in FIGURES]
    console.print(f"   {len(files)} figures in {out / 'figures'}")
    _where_to_look(console, out, checkpoint)
    return {"checkpoint": str(checkpoint), "runs": [str(f) for f in folders], "figures": [str(f) for f in files]}


def _clear(out: Path) -> None:
    """Replace an earlier demo, and nothing else."""
    if out.exists() and any(out.iterdir()) and not (out / "digits.pt").exists():
        raise UserError(f"{out} holds something other than a demo; choose another folder with -o")
    if out.exists():
        shutil.rmtree(out)
    make_folder(out)


def _train(checkpoint: Path, epochs: int) -> None:
    """The preset digits-natural, with its smaller evaluation."""
    config = TrainConfig(
        data="digits",
        arch="digits_cnn",
        out=checkpoint.parent / "training",
        epochs=epochs,
        lr=4e-3,
        warmup_epochs=min(5, epochs - 1),
        shift=2,
        label_smoothing=0.05,
        eval_eps=0.05,
        eval_every=epochs,
        eval_images=100,
    )
    shutil.copy(train(config).checkpoint, checkpoint)


def _figure(spec: str, runs: list[Run], out: Path) -> Path:
    return save(draw(spec, runs), out / "figures" / f"{spec.partition(':')[0]}.pdf", runs)


def _where_to_look(console: Console, out: Path, checkpoint: Path) -> None:
    console.print(
        f"""
[bold]Where to look next[/bold]
  open the figures              {out / "figures"}
  what is in the checkpoint     gradlens info {checkpoint}
  your own images               gradlens analyze {checkpoint} --data FOLDER
  in Python                     run = gl.Run.load("{out / "digits"}"); run.top("l1", 8).samples
  all measures and figures      gradlens list""",
        highlight=False,
        soft_wrap=True,
    )
