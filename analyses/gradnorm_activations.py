"""Does GradNorm need a smooth activation? GELU against ReLU on digits, each with its own best λ and learning rate.

    python analyses/gradnorm_activations.py [FOLDER] [ACTIVATION …]

The same grid of penalty weight × learning rate for each, one seed, chosen by accuracy under PGD-10 on val; then five
seeds of the best, measured as in digits_robustness.py, on 200 of its images. ReLU's finite differences replay the
branches of the base point and are checked against double backward. Trainings go to FOLDER and are not repeated; with
ACTIVATIONs, only those are trained and measured, and nothing is written yet. Writes
results/gradnorm_activations.json, with the difference over seeds whichever way it falls.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from _seeds import PRESETS, SEEDS, Row, difference, kept, over_seeds, robustness, write

from gradlens.training.config import TrainConfig, read_config
from gradlens.training.sweep import sweep
from gradlens.training.train import train

ACTIVATIONS = ("gelu", "relu")
IMAGES = 200
GRID = {"weight": ["0.33", "1", "1.5"], "lr": ["0.002", "0.004"]}


def config(activation: str, folder: Path, **changed: Any) -> TrainConfig:
    given = {"activation": activation, "out": folder, "eval_every": 1000, "eval_images": None, **changed}
    return read_config(PRESETS / "digits-gradnorm.toml", **given)


def tuned(activation: str, folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """The best setting of the grid, and the val accuracy under attack of each."""
    settings, best = sweep(config(activation, folder), [0], GRID, resume=True)
    scores = {", ".join(f"{k}={v}" for k, v in s.changed.items()): s.score for s in settings}
    return {name: float(value) for name, value in best.changed.items()}, scores


def measured(activation: str, best: dict[str, float], seed: int, folder: Path) -> Row:
    return robustness(train(config(activation, folder, seed=seed, **best), resume=True).checkpoint, "digits", IMAGES)


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/gradnorm-activations")
    asked = sys.argv[2:]
    found: dict[str, dict[str, Any]] = {}
    for activation in asked or ACTIVATIONS:
        best, scores = tuned(activation, where / activation / "grid")
        folders = [where / activation / f"s{seed}" for seed in SEEDS]
        rows = [kept(f, partial(measured, activation, best, seed, f)) for seed, f in zip(SEEDS, folders, strict=True)]
        numbers = {name: over_seeds([row[name] for row in rows]) for name in ("clean", "mean minimal eps")}
        found[activation] = {"best": best, "val accuracy under PGD-10": scores, **numbers, "seeds": rows}
        print(activation, found[activation])
    if not asked:
        pairs = [found[activation]["seeds"] for activation in ACTIVATIONS]
        gaps = {name: difference(*pairs, name) for name in ("clean", "mean minimal eps")}
        write("gradnorm_activations", {"GELU - ReLU over seeds, 95 % t-intervals": gaps, **found})
