"""How far do the penalties carry on digits? Mean minimal ε of natural, EdgeReg and GradNorm training.

    python analyses/digits_robustness.py [FOLDER] [RECIPE …]

Five seeds of each ``analyses/presets/digits-*.toml``, and of the natural one without its label smoothing (which
raises clean accuracy, by which it was chosen, and lowers the minimal ε); the last checkpoint, all test images, the
worst of PGD-50 on the margin, PGD-50 × 5 restarts on cross-entropy and Square (``minimal_eps``, ε = 0.01 … 0.15).
The recipes were chosen on val. Trainings go to FOLDER and are not repeated; with RECIPEs, only those are trained and
measured, and nothing is written yet. Writes results/digits_robustness.json.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from _seeds import PRESETS, SEEDS, Row, kept, over_seeds, robustness, write

from gradlens.training.config import read_config
from gradlens.training.train import train

RECIPES: dict[str, dict[str, float]] = {
    "natural": {},
    "edge": {},
    "gradnorm": {},
    "natural, hard labels": {"label_smoothing": 0.0},
}


def measured(recipe: str, seed: int, folder: Path) -> Row:
    preset = PRESETS / f"digits-{recipe.partition(',')[0]}.toml"
    config = read_config(preset, out=folder, seed=seed, eval_every=1000, **RECIPES[recipe])
    return robustness(train(config, resume=True).checkpoint, "digits")


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/digits-robustness")
    asked = sys.argv[2:]
    rows: dict[str, list[Row]] = {}
    for recipe in asked or RECIPES:
        folders = [where / recipe / f"s{seed}" for seed in SEEDS]
        rows[recipe] = [kept(f, partial(measured, recipe, seed, f)) for seed, f in zip(SEEDS, folders, strict=True)]
        print(recipe, *rows[recipe], sep="\n")
    if not asked:
        natural = [row["mean minimal eps"] for row in rows["natural"]]
        summary = {}
        for recipe in RECIPES:
            own = [row["mean minimal eps"] for row in rows[recipe]]
            summary[recipe] = {
                **{name: over_seeds([row[name] for row in rows[recipe]]) for name in ("clean", "mean minimal eps")},
                "times natural": over_seeds([a / b for a, b in zip(own, natural, strict=True)]),
            }
        write("digits_robustness", {"over seeds, 95 % t-intervals": summary, "seeds": rows})
