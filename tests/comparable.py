"""Made-up runs of the same images, to be compared."""

import numpy as np
import pandas as pd

from gradlens import Run

CONTRACT = {
    "data": "digits/val",
    "images": 40,
    "data_fingerprint": "f",
    "seed": 0,
    "precision": "float32",
    "preprocess": {"size": 32, "crop_pct": 1.0, "interpolation": "bicubic"},
    "preprocess_hash": "p",
    "analyzers": ["sample_asymmetry", "edge_concentration"],
    "primary": ["l1"],
    "readings": [["L1 norm, mean", "l1_mean", "nats per unit pixel"]],
}


def fake(label="a", member=0, shift=0.0, n=40, summary=None, columns=None, **changed):
    """A run of n images with columns l1, edge and correct that share what is particular to each image."""
    easy = np.random.default_rng(99).normal(size=n)
    rng = np.random.default_rng(member + sum(map(ord, label)))
    samples = pd.DataFrame(
        {
            "index": np.arange(n),
            "path": [f"c{i % 4}/{i}.png" for i in range(n)],
            "label": np.arange(n) % 4,
            "prediction": rng.integers(4, size=n),
            "correct": rng.random(n) < 0.7,
            "l1": easy + rng.normal(shift, 0.3, n),
            "edge": 0.1 * rng.normal(size=n),
            "gradient_flag": np.zeros(n),
        }
    ).assign(**(columns or {}))
    provenance = {**CONTRACT, "weights": f"{label}-{member}", **changed}
    return Run(samples, {"model": label, "data": "digits/val", **(summary or {})}, provenance=provenance)


def seeds(label, count, shift=0.0, **options):
    return [fake(label, k, shift + 0.05 * np.sin(7 * k), **options) for k in range(count)]


def row(table, column, other=None):
    frame = table.frame[table.frame["column"] == column]
    return (frame if other is None else frame[frame["other"] == other]).iloc[0]
