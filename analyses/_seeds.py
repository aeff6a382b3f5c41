"""What the analyses over training seeds share: training and measuring once each, and intervals over seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gradlens import analyze, load_data, load_model
from gradlens.analysis.provenance import device_name
from gradlens.stats.intervals import mean_interval

PRESETS, RESULTS = (Path(__file__).parent / name for name in ("presets", "results"))
SEEDS = range(5)
NUMBERS = {
    "mean minimal eps": "eps_min_mean",
    "accuracy at eps 0.5": "accuracy_large",
    "only Square breaks (%)": "only_square",
    "twice the steps break (%)": "more_steps_break",
}
Row = dict[str, Any]


def kept(folder: Path, measure: Callable[[], Row]) -> Row:
    """A row of numbers, measured once and kept beside the training, so that an analysis can go on where it stopped."""
    file = folder / "row.json"
    if not file.exists():
        row = {**measure(), "hardware": hardware()}
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(row))
    return json.loads(file.read_text())


def robustness(checkpoint: Path, data: str, images: int | None = None, attack: str = "minimal_eps") -> Row:
    """Clean accuracy, the worst-of attack's mean minimal ε and the signs of masking, on test images.

    images: a stratified sample of that size, the same for every network; all where it is not given.
    """
    test = load_data(data, "test", limit=images)
    run = analyze(load_model(checkpoint), test, [attack], batch_size=len(test), examples=0)
    (suffix,) = (name.removeprefix("eps_min") for name in run.samples if name.startswith("eps_min"))
    measured = {name: run.summary[key + suffix] for name, key in NUMBERS.items()}
    return {"clean": run.summary["top1"], **measured, **_curve(run.arrays)}


def _curve(arrays: Mapping[str, Any]) -> Row:
    eps, accuracy = (next(v for k, v in arrays.items() if k.endswith(f"curve/{name}")) for name in ("eps", "accuracy"))
    return {f"accuracy at eps {e:.3f}": float(a) for e, a in zip(eps, accuracy, strict=True)}


def over_seeds(values: Sequence[float]) -> dict[str, float]:
    """Mean and 95 % t-interval, seeds being the unit."""
    return dict(zip(("mean", "low", "high"), mean_interval(values), strict=True))


def difference(a: Sequence[Row], b: Sequence[Row], name: str) -> dict[str, float]:
    """Paired by seed."""
    return over_seeds([x[name] - y[name] for x, y in zip(a, b, strict=True)])


def write(name: str, result: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({"hardware": hardware(), **result}, indent=1) + "\n")


def hardware() -> str:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return f"{device_name(device)}, torch {torch.__version__}"
