"""Does edge regularisation put the loss gradient onto edges, beyond what robustness does? On shapes and photos.

    python analyses/edge_claim.py [FOLDER] [DATA …]

Five seeds of a small CNN, all test images: natural; GradNorm; on photos EdgeReg as published (drawn logit, signed,
BatchNorm in training mode); and ``both``: EdgeReg's saliency form on the loss, each image for itself, in evaluation
mode after three epochs, on FGSM images. The claim is about ``both``: its partial correlation of log |g| and log contour
energy, the primary edge measure, minus natural's and minus GradNorm's at about the same mean minimal ε.

What it should find. The published form aligns the gradient of the drawn logit, and in training mode of BatchNorm only:
measured in evaluation mode little is left of it. In evaluation mode the alignment stays, but with the logit. The
saliency form on the loss carries over to what is measured, at less robustness; on FGSM images it keeps both.
Trainings go to FOLDER and are not repeated; with DATA, only those are trained and measured, and nothing is written yet.
Writes results/edge_claim.json.
"""

from __future__ import annotations

import itertools
import sys
from functools import partial
from pathlib import Path
from typing import Any

from _seeds import SEEDS, Row, difference, kept, over_seeds, write

from gradlens import TrainConfig, analyze, load_data, load_model
from gradlens.training._loop import train

COMMON: dict[str, Any] = {
    **{"arch": "digits_cnn:width=8", "epochs": 10, "lr": 4e-3, "warmup_epochs": 3, "shift": 2, "flip": 0.5},
    **{"label_smoothing": 0.05, "eval_every": 1000, "eval_images": 200},
}
SALIENCY = "edge:form=saliency,objective=loss,batchwise=False,alpha={alpha},step={step},cap={cap}"
# Shapes, whose texture and colour say nothing, are much harder; there the edges come with a tenth of the weight.
SETTINGS: dict[str, dict[str, float]] = {
    "shapes": {"gradnorm": 0.004, "fgsm": 0.01, "alpha": 0.1, "step": 0.03, "cap": 0.3},
    "photos": {"gradnorm": 0.02, "fgsm": 0.015, "alpha": 1, "step": 0.3, "cap": 3},
}
RECIPES: dict[str, dict[str, Any]] = {
    "natural": {},
    "gradnorm": {"penalty": "gradnorm:eps={gradnorm},alpha=0,step=.2,cap=1"},
    "both": {"penalty": SALIENCY, "method": "fgsm:eps={fgsm}", "clip": 1.0, "bn": "eval_after:3"},
    "edge, as published": {"penalty": "edge:alpha=1,step=.3,cap=3", "clip": 1.0},
}
# What the published form does is asked of natural images alone.
ON = {"shapes": ("natural", "gradnorm", "both"), "photos": tuple(RECIPES)}
# On 60 images, with a shorter suite than the default: the comparison is between recipes.
MINIMAL = "minimal_eps:low=0.001,high=0.06,points=60,steps=20,restarts=1,queries=100,checked=0"
IMAGES = 60
MEASURES = ("edge_partial_contour", "edge_corr_contour", "edge_auc_canny", "edge_partial_contour@sampled_logit")
ROBUST = "mean minimal eps"


def measured(data: str, recipe: str, seed: int, folder: Path) -> Row:
    given = {k: v.format_map(SETTINGS[data]) if isinstance(v, str) else v for k, v in RECIPES[recipe].items()}
    config = TrainConfig(data=data, out=folder, seed=seed, **COMMON, **given)
    model = load_model(train(config, resume=True).checkpoint)
    test = load_data(data, "test")
    edges = ["edge_concentration", "edge_concentration:objective=sampled_logit"]
    found = analyze(model, test, edges, batch_size=100, examples=0).summary
    attacked = analyze(model, test, [MINIMAL], limit=IMAGES, batch_size=IMAGES, examples=0).samples
    (column,) = (name for name in attacked if name.startswith("eps_min"))
    means = {name: found["{}_mean{}{}".format(*name.partition("@"))] for name in MEASURES}
    return {"clean": found["top1"], ROBUST: float(attacked[column].mean()), **means}


def claimed(rows: dict[str, list[Row]]) -> dict[str, Any]:
    names = ("clean", ROBUST, *MEASURES)
    return {
        "over seeds, 95 % t-intervals": {r: {n: over_seeds([row[n] for row in rows[r]]) for n in names} for r in rows},
        "both minus the others, paired by seed": {
            other: {name: difference(rows["both"], rows[other], name) for name in names}
            for other in rows
            if other != "both"
        },
        "seeds": rows,
    }


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/edge-claim")
    asked = sys.argv[2:]
    result = {}
    for data in asked or ("shapes", "photos"):
        rows: dict[str, list[Row]] = {recipe: [] for recipe in ON[data]}
        for recipe, seed in itertools.product(ON[data], SEEDS):
            folder = where / data / recipe.replace(", ", "-").replace(" ", "-") / f"s{seed}"
            rows[recipe].append(kept(folder, partial(measured, data, recipe, seed, folder)))
            print(data, seed, recipe, rows[recipe][-1], flush=True)
        result[data] = claimed(rows)
    if not asked:
        write("edge_claim", {"recipes": RECIPES, "settings": SETTINGS, "common": COMMON, **result})
