"""Does the finite-difference engine find its step on a network that is nearly linear?

    python benchmarks/near_linear_step.py [SIDE] [IMAGES]

ResNet-50 with GELU at its random start, in evaluation mode: the cosine of each penalty's parameter gradient with the
exact one (double backward) by the length of the step, and that of the step that ``find_step`` takes, which sees no
double backward. The usual step drowns in float32's rounding there. Writes results/near_linear_step.json.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import timm
import torch

from gradlens import load_model, swap_activations
from gradlens.analysis.provenance import device_name
from gradlens.core.types import Batch
from gradlens.training.engines import FiniteDifference, double_backward, find_step
from gradlens.training.engines._checked import penalty_gradient
from gradlens.training.penalties import choose_penalty

SIDE, IMAGES = (int(a) for a in (sys.argv[1:] + ["64", "4"][len(sys.argv) - 1 :])[:2])


def measured(spec: str, model: torch.nn.Module, batch: Batch) -> dict:
    penalty, usual = choose_penalty(spec), FiniteDifference()
    engines = {k: replace(usual, growth=3.0**k) for k in range(6)}
    exact = flat(penalty_gradient(double_backward, model, batch, penalty))
    cosines = {k: cosine(flat(penalty_gradient(e, model, batch, penalty)), exact) for k, e in engines.items()}
    found = find_step(usual, model, batch, penalty)
    return {
        "cosine with double backward, by relative step": {f"{3e-4 * 3**k:.2g}": c for k, c in cosines.items()},
        "found relative step": found.growth * found.relative_step,
        "its cosine": cosines[round(math.log(found.growth, 3))],
    }


def flat(slopes: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([s.double().flatten() for s in slopes])


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


if __name__ == "__main__":
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = timm.create_model("resnet50")
    swap_activations(net, "gelu")
    model = load_model(net, mean=(0.485, 0.456, 0.406), std=(0.225,) * 3, device=str(device)).eval()
    # Blurred noise: as smooth as pictures are, and the same everywhere.
    noise = torch.nn.functional.interpolate(torch.rand(IMAGES, 3, SIDE // 8, SIDE // 8), SIDE, mode="bicubic")
    batch = Batch(noise.clamp(0, 1), torch.arange(IMAGES), torch.arange(IMAGES)).to(device)
    result = {"hardware": f"{device_name(device)}, torch {torch.__version__}", "side": SIDE, "images": IMAGES}
    for spec in ("edge", "gradnorm"):
        result[spec] = measured(spec, model, batch)
        print(spec, result[spec], flush=True)
    (Path(__file__).parent / "results" / "near_linear_step.json").write_text(json.dumps(result, indent=1) + "\n")
