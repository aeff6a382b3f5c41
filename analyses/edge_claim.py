"""Does edge regularisation put the loss gradient onto edges, beyond what robustness does? On shapes and photos.

    python analyses/edge_claim.py [FOLDER] [DATA …]

Five seeds, test images: natural; GradNorm; FGSM training; ``both``, EdgeReg's saliency form on the loss, each image
for itself, on the images of that FGSM; and on photos EdgeReg as published (drawn logit, signed, BatchNorm in training
mode). The claim is about ``both``: its partial correlation of log |g| and log contour energy, the primary edge
measure, minus natural's, minus GradNorm's and minus FGSM's, at about the same mean minimal ε. FGSM is there since
robust networks lie more on edges without being asked: what is left of the difference is the penalty's.

What it should find. The published form aligns the gradient of the drawn logit, and in BatchNorm's training mode only:
measured in evaluation mode little is left of it. The saliency form on the loss carries over to what is measured, at
less robustness; on FGSM images it keeps both. Shapes, whose texture and colour say nothing, take a deeper network
(ResNet-20 at 32²); the recipes were chosen on val, one seed. Five seeds of shapes take two cores some two hours.
Trainings go to FOLDER and are not repeated; with DATA, only those are trained and measured, and nothing is written yet.
Writes results/edge_claim.json.
"""

from __future__ import annotations

import itertools
import sys
from functools import partial
from pathlib import Path
from typing import Any

from _seeds import SEEDS, Row, difference, kept, over_seeds, robustness, write

from gradlens import TrainConfig, analyze, load_data, load_model
from gradlens.training.train import train

COMMON: dict[str, dict[str, Any]] = {
    "shapes": {
        **{"arch": "resnet20_cifar", "activation": "gelu", "img_size": 32},
        **{"epochs": 16, "warmup_epochs": 2, "shift": 4},
    },
    "photos": {"arch": "digits_cnn:width=8", "epochs": 10, "warmup_epochs": 3, "shift": 2, "label_smoothing": 0.05},
}
TRAINING = {"lr": 4e-3, "flip": 0.5, "eval_every": 1000, "eval_images": 200}
SALIENCY = "edge:form=saliency,objective=loss,batchwise=False"
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "shapes": {
        "natural": {},
        "gradnorm": {"penalty": "gradnorm:eps=.004,alpha=0,step=.2,cap=1", "clip": 1.0},
        "fgsm": {"method": "fgsm:eps=.008", "clip": 1.0},
        "both": {"method": "fgsm:eps=.008", "penalty": f"{SALIENCY},alpha=.1,step=.14,cap=1", "clip": 1.0},
    },
    "photos": {
        "natural": {},
        "gradnorm": {"penalty": "gradnorm:eps=.02,alpha=0,step=.2,cap=1"},
        "fgsm": {"method": "fgsm:eps=.015", "clip": 1.0, "bn": "eval_after:3"},
        "both": {
            **{"method": "fgsm:eps=.015", "penalty": f"{SALIENCY},alpha=1,step=.3,cap=3"},
            **{"clip": 1.0, "bn": "eval_after:3"},
        },
        "edge, as published": {"penalty": "edge:alpha=1,step=.3,cap=3", "clip": 1.0},
    },
}
ATTACK, IMAGES = "minimal_eps:low=0.001,high=0.06,points=60", 150
MEASURES = ("edge_partial_contour", "edge_corr_contour", "edge_auc_canny", "edge_partial_contour@sampled_logit")
SHOWN = ("clean", "mean minimal eps", *MEASURES)


def measured(data: str, recipe: str, seed: int, folder: Path) -> Row:
    given = {**TRAINING, **COMMON[data], **RECIPES[data][recipe]}
    checkpoint = train(TrainConfig(data=data, out=folder, seed=seed, **given), resume=True).checkpoint
    edges = ["edge_concentration", "edge_concentration:objective=sampled_logit"]
    found = analyze(load_model(checkpoint), load_data(data, "test"), edges, batch_size=100, examples=0).summary
    means = {name: found["{}_mean{}{}".format(*name.partition("@"))] for name in MEASURES}
    # Accuracy is that of all images, the attack's of some.
    return {**robustness(checkpoint, data, IMAGES, ATTACK), **means, "clean": found["top1"]}


def claimed(rows: dict[str, list[Row]]) -> dict[str, Any]:
    others = [recipe for recipe in rows if recipe != "both"]
    return {
        "over seeds, 95 % t-intervals": {r: {n: over_seeds([row[n] for row in rows[r]]) for n in SHOWN} for r in rows},
        "both minus the others, paired by seed": {
            other: {name: difference(rows["both"], rows[other], name) for name in SHOWN} for other in others
        },
        "seeds": rows,
    }


if __name__ == "__main__":
    where = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/edge-claim")
    asked = sys.argv[2:]
    result = {}
    for data in asked or RECIPES:
        rows: dict[str, list[Row]] = {recipe: [] for recipe in RECIPES[data]}
        for recipe, seed in itertools.product(rows, SEEDS):
            folder = where / data / recipe.replace(", ", "-").replace(" ", "-") / f"s{seed}"
            rows[recipe].append(kept(folder, partial(measured, data, recipe, seed, folder)))
            print(data, seed, recipe, {name: rows[recipe][-1][name] for name in SHOWN}, flush=True)
        result[data] = claimed(rows)
    if not asked:
        write("edge_claim", {"recipes": RECIPES, "common": COMMON, "training": TRAINING, **result})
