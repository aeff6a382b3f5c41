"""How often intervals and tests over training seeds err: simulated groups of runs between which there is no difference.

    python analyses/calibration.py

Intervals. Two groups of 5 or 10 runs of the same 100 images. A number has noise of SD 1 for each image under each
seed, 0.1 for each seed (or 0.1 in one group and 0.4 in the other), and SD 0, 0.5 or 1 for what a group does to
each image, whatever the seed (method × image). The difference is 0 over new seeds and new images.

Tests. Ten independent measures of two groups, whose SDs between seeds differ by up to 4:1; an error is any
measure with an adjusted p of at most 0.05.

What it should find. The crossed interval covers 93 to 98 % everywhere; t over seeds alone does so without
method × image effects only. Holm of Welch errs in at most 8 % from five seeds a group, and more below.
"""

from __future__ import annotations

import json
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradlens.analysis.provenance import device_name
from gradlens.stats.inference import crossed_t, holm, welch_t

REPETITIONS, IMAGES, MEASURES, OVER_SEEDS = 2000, 100, 10, 0.1
RESULT = Path(__file__).parent / "results" / "calibration.json"


def runs(rng: np.random.Generator, seeds: int, over_images: float, spreads: tuple[float, float]) -> list[list]:
    """Two groups of ``(images, 1)``."""
    favour = over_images * rng.normal(size=(2, IMAGES, 1))
    return [
        [f + OVER_SEEDS * spread * rng.normal() + rng.normal(size=(IMAGES, 1)) for _ in range(seeds)]
        for f, spread in zip(favour, spreads, strict=True)
    ]


def coverage(seeds: int, over_images: float, spreads: tuple[float, float]) -> dict[str, Any]:
    """The share of intervals that hold the true difference of 0."""
    rng, hits = np.random.default_rng([seeds, int(10 * over_images), int(spreads[1])]), np.zeros(2)
    for _ in range(REPETITIONS):
        a, b = runs(rng, seeds, over_images, spreads)
        found = crossed_t(a, b)[0], welch_t([x.mean() for x in a], [x.mean() for x in b])
        hits += [one.low <= 0 <= one.high for one in found]
    crossed, over_seeds = (hits / REPETITIONS).tolist()
    cell = {"seeds": seeds, "method x image SD": over_images, "SD between seeds": [OVER_SEEDS * s for s in spreads]}
    return {**cell, "crossed": crossed, "seeds alone": over_seeds}


def family_wise_error(seeds: tuple[int, int], spreads: tuple[float, float]) -> dict[str, Any]:
    """The share of families in which some adjusted p is at most 0.05."""
    rng, wrong = np.random.default_rng([*seeds, *map(int, spreads)]), 0
    for _ in range(REPETITIONS):
        a, b = (rng.normal(0, spread, (MEASURES, n)) for n, spread in zip(seeds, spreads, strict=True))
        wrong += bool((holm([welch_t(x, y).p for x, y in zip(a, b, strict=True)]) <= 0.05).any())
    return {"seeds": list(seeds), "SDs": list(spreads), "Holm of Welch": wrong / REPETITIONS}


def main() -> None:
    start = time.perf_counter()
    intervals = [coverage(*cell) for cell in product((5, 10), (0.0, 0.5, 1.0), ((1.0, 1.0), (1.0, 4.0)))]
    sizes = ((5, 5), (5, 10), (10, 5), (10, 10), (3, 8))
    tests = [family_wise_error(n, spreads) for n, spreads in product(sizes, ((1.0, 1.0), (1.0, 2.0), (1.0, 4.0)))]
    made = {
        "repetitions": REPETITIONS,
        "images": IMAGES,
        "measures": MEASURES,
        "seconds": round(time.perf_counter() - start),
        "hardware": device_name(torch.device("cpu")),
    }
    RESULT.write_text(json.dumps({**made, "coverage": intervals, "family-wise error": tests}, indent=1) + "\n")
    for row in (*intervals, *tests):
        print(row)


if __name__ == "__main__":
    main()
