"""What the analyses over training seeds share: training and measuring once each, and intervals over seeds."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from gradlens import analyze, load_data, load_model
from gradlens._statistics.intervals import mean_interval

PRESETS, RESULTS = (Path(__file__).parent / name for name in ("presets", "results"))
SEEDS = range(5)
# Of the 500, a stratified sample that is the same for every network.
IMAGES = 200
NUMBERS = {
    "clean": "top1",
    "mean minimal eps": "eps_min_mean[linf]",
    "accuracy at eps 0.5": "accuracy_large[linf]",
    "only Square breaks (%)": "only_square[linf]",
    "twice the steps break (%)": "more_steps_break[linf]",
}
Row = dict[str, float]


def kept(folder: Path, measure: Callable[[], Row]) -> Row:
    """A row of numbers, measured once and kept beside the training, so that an analysis can go on where it stopped."""
    file = folder / "row.json"
    if not file.exists():
        row = measure()
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(row))
    return json.loads(file.read_text())


def robustness(checkpoint: Path, images: int = IMAGES) -> Row:
    """Clean accuracy and the worst-of attack's minimal ε on digits' test images, and the signs of masking."""
    test = load_data("digits", "test", limit=images)
    run = analyze(load_model(checkpoint), test, ["minimal_eps"], batch_size=images, examples=0)
    curve = dict(zip(run.arrays["minimal_eps/curve/eps"], run.arrays["minimal_eps/curve/accuracy"], strict=True))
    accuracies = {f"accuracy at eps {eps:.2f}": float(accuracy) for eps, accuracy in curve.items()}
    return {name: run.summary[key] for name, key in NUMBERS.items()} | accuracies


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """Mean and 95 % t-interval, seeds being the unit."""
    return dict(zip(("mean", "low", "high"), mean_interval(values), strict=True))


def difference(a: Sequence[Row], b: Sequence[Row], name: str) -> dict[str, float]:
    """Paired by seed."""
    return over_seeds([x[name] - y[name] for x, y in zip(a, b, strict=True)])


def write(name: str, result: dict[str, Any]) -> None:
    hardware = {"cpu": platform.processor() or platform.machine(), "torch": torch.__version__}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"hardware": hardware, **result}, indent=1) + "\n")
