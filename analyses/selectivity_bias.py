"""What few images a class do to class selectivity: simulated units, 1,000 classes, no model.

    python analyses/selectivity_bias.py

A unit is ``max(0, z − t)`` of a normal z, or ``|z|`` where it is dense; t sets the share of images on
which it is active. Without class signal whatever is above 0 is bias. With it, z has a mean of its own
for each class, which explains 10 % of its variance, whatever the number of images.

What it should find. Without class signal the index is 0.16, 0.48 and 0.80 at 50 images a class and
0.31, 0.71 and 0.93 at 10, for the three kinds of units; the adjusted index and ω² are 0. With class
signal ω² is the same at every number of images; the adjusted index still grows with it, since the
permuted labels' index falls, so it can only be compared at equal images a class.
"""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from gradlens.stats.intervals import mean_interval
from gradlens.stats.selectivity import layer_selectivity, permuted_labels, unit_selectivity

CLASSES, PERMUTATIONS = 1000, 8
IMAGES_A_CLASS = (1, 2, 5, 10, 20, 50)
# Share of images on which a unit is active.
KINDS = {"dense": 1.0, "ReLU-sparse": 0.16, "very sparse": 0.02}
SIGNALS = {"no class signal": 0.0, "class explains 10 % of the drive": 0.1}
RESULT = Path(__file__).parent / "results" / "selectivity_bias.json"


def activations(rng: np.random.Generator, shape: tuple[int, int, int], active: float, signal: float) -> NDArray:
    """``(K, n, U)``; class means of the drive z explain the share ``signal`` of its variance."""
    classes, _, units = shape
    drive = np.sqrt(1 - signal) * rng.normal(size=shape) + np.sqrt(signal) * rng.normal(size=(classes, 1, units))
    return np.abs(drive) if active == 1 else np.maximum(drive - norm.isf(active), 0)


def measured(values: NDArray) -> dict[str, list[float | None]]:
    """Each measure's mean over units and its 95 % interval; the adjusted index is that of the means."""
    classes, n, units = values.shape
    label = np.repeat(np.arange(classes), n)
    flat = values.reshape(-1, units)
    dealt = permuted_labels(np.arange(len(label)), label, PERMUTATIONS)
    permuted = np.stack([flat[np.argsort(new, kind="stable")].reshape(values.shape).mean(1) for new in dealt.T])
    found = unit_selectivity(np.full(classes, n), values.mean(1), (flat**2).sum(0), permuted)
    means = {name: mean_interval(numbers) for name, numbers in found._asdict().items()}
    means["adjusted"] = (float(layer_selectivity(found).adjusted),)
    return {name: [_rounded(number) for number in numbers] for name, numbers in means.items()}


def _rounded(number: float) -> float | None:
    """Five digits after the point; JSON has no NaN."""
    return round(number, 5) if np.isfinite(number) else None


def table() -> list[dict[str, object]]:
    rng, rows = np.random.default_rng(0), []
    for signal, share in SIGNALS.items():
        for kind, active in KINDS.items():
            for n in IMAGES_A_CLASS:
                # Estimates scatter more with fewer images, and more units cost less there.
                units = min(1500, 6_000 // n)
                row = {"signal": signal, "units": kind, "active": active, "images a class": n, "number of units": units}
                rows.append(row | measured(activations(rng, (CLASSES, n, units), active, share)))
    return rows


def hardware() -> dict[str, str]:
    """The machine's name, as a reader needs it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {"cpu": names[0] if names else platform.machine(), "numpy": np.__version__}


if __name__ == "__main__":
    start = time.perf_counter()
    rows = table()
    facts = {"hardware": hardware(), "seconds": round(time.perf_counter() - start, 1)}
    facts |= {"classes": CLASSES, "permutations": PERMUTATIONS, "interval": "95 %, over units"}
    RESULT.parent.mkdir(exist_ok=True)
    # A line a row.
    lines = ",\n  ".join(json.dumps(row, ensure_ascii=False) for row in rows)
    RESULT.write_text(f'{json.dumps(facts, ensure_ascii=False)[:-1]},\n "rows": [\n  {lines}\n ]}}\n')
    for row in rows:
        print(row)
