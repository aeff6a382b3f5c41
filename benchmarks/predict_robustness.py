"""How often the intervals of `predict_robustness` cover, and what one attacked label is worth.

    python benchmarks/predict_robustness.py FOLDER

FOLDER holds natural.pt, edge.pt and gradnorm.pt, as `gradlens demo` leaves them. All 500 test digits are attacked
once (kept as NAME.npy), then a sample of 100 is drawn 2,000 times and the truth looked up.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from side_by_side import write

import gradlens as gl
from gradlens.core.registry import analyzer
from gradlens.probes.probe import Probe
from gradlens.stats.sampling import predicted, strata_of, stratified
from gradlens.studies._predict_robustness import drawn, middles

MODELS = ("natural", "edge", "gradnorm")
SUITE = "minimal_eps:steps=10,restarts=1,queries=50,checked=0"
ATTACKED, STRATA, DRAWS = 100, 25, 2000
INDEX, LABEL, CORRECT, MARGIN, SIZE, LOSS, EPS, BREAKER = range(8)


def attacked(name: str, folder: Path) -> NDArray:
    """A row an image of the test digits: what gradients say, and the smallest radius of the grid that breaks it."""
    kept = folder / f"{name}.npy"
    if not kept.exists():
        model, data, suite = gl.load_model(folder / f"{name}.pt"), gl.load_data("digits", "test"), analyzer.build(SUITE)
        probe = Probe(model, data.batch(data.indices.tolist()))
        size = probe.gradient("margin").double().abs().flatten(1).sum(1)
        found = suite.measure(Probe(model, probe.batch))
        columns = [probe.batch.index, probe.target, probe.correct, probe.margin, size, probe.loss]
        np.save(kept, np.stack([c.double().numpy() for c in (*columns, found["eps_min"], found["broken_by"])], 1))
    return np.load(kept)


def simulate(images: NDArray) -> dict[str, object]:
    """Coverage, width and worth of each measure by both estimates, over all draws."""
    grid = np.array(analyzer.build(SUITE).grid)
    right = np.flatnonzero(images[:, CORRECT] == 1)
    score = images[right, MARGIN] / images[right, SIZE]
    level = np.abs(images[right, EPS, None] - grid).argmin(1) + 1 + (images[right, BREAKER] > 3)
    measures = {f"accuracy at {eps:.2f}": (level > k + 1).astype(float) for k, eps in enumerate(grid)}
    measures = {n: y for n, y in measures.items() if 0.05 <= y.sum() / len(images) <= 0.95}
    measures["mean minimal eps"] = middles(grid.tolist(), level)
    count = round(ATTACKED * len(right) / len(images))
    stratum = strata_of(score, STRATA)
    result = {}
    for name, y in measures.items():
        truth, share = y.sum() / len(images), not name.startswith("mean")
        whole = np.concatenate([y, np.zeros(len(images) - len(y))])
        plain = (1 - ATTACKED / len(images)) * whole.var(ddof=1) / ATTACKED
        found: dict[str, list] = {"strata": [], "isotonic": []}
        for seed in range(DRAWS):
            rows = drawn(stratum, count, seed)
            found["strata"].append(stratified(y[rows], rows, stratum, len(images), share).interval)
            if seed < DRAWS // 10:
                found["isotonic"].append(predicted(y[rows], rows, score, len(images), share, seed=seed).interval)
        result[name] = {"truth": truth, **{way: _summed(np.array(v), truth, plain) for way, v in found.items()}}
    return result


def _summed(draws: NDArray, truth: float, plain: float) -> dict[str, float]:
    value, low, high = draws.T
    covered = ((low <= truth) & (truth <= high)).mean()
    error = ((value - truth) ** 2).mean()
    return {
        "coverage": covered,
        "mean width": (high - low).mean(),
        "bias": value.mean() - truth,
        "worth": plain / error,
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    found = {name: simulate(attacked(name, folder)) for name in MODELS}
    cells = [v["strata"]["coverage"] for model in found.values() for v in model.values()]
    settings = {"suite": SUITE, "images": 500, "attacked": ATTACKED, "strata": STRATA, "draws": DRAWS}
    write("predict_robustness", {**settings, "smallest coverage by strata": min(cells), "models": found})
