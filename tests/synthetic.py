"""Runs of random numbers, with what analyzers give: for figures, tables and reports, without a model."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gradlens import Run
from gradlens.stats.tallies import Histogram

EDGES = {"edge_partial_contour": 0.3, "edge_corr_contour": 0.5, "edge_auc_canny": 0.65, "edge_mass_canny": 0.05}


def synthetic(name: str, seed: int, images: int = 200, size: int = 24, kept: int = 4) -> Run:
    """A run whose columns have the ranges of real ones; gradients are ``4 ** (seed % 4)`` times as large."""
    rng = np.random.default_rng(seed)
    arrays = _histogram(rng, 40 * (seed % 4)) | _spectrum(rng) | _profile(seed)
    provenance = {"weights": name, "analyzers": ["sample_asymmetry"], "arch": f"net{seed}"}
    summary = {"model": name, "data": "synthetic", "images": images, "top1": 70.0 + seed}
    return Run(_samples(rng, seed, images), summary, arrays, provenance, _examples(rng, size, kept))


def models(count: int, **options: int) -> list[Run]:
    """Runs called natural, robust, model-2, …"""
    names = ["natural", "robust", *(f"model-{k}" for k in range(2, count))][:count]
    return [synthetic(name, seed, **options) for seed, name in enumerate(names)]


def _samples(rng: np.random.Generator, seed: int, images: int) -> pd.DataFrame:
    table = pd.DataFrame(
        {"index": np.arange(images), "path": [f"{'cat' if i % 2 else 'dog'}/{i:05d}" for i in range(images)]}
    )
    table["label"], table["correct"] = np.arange(images) % 2, rng.random(images) < 0.7
    table["prediction"] = np.where(table["correct"], table["label"], 1 - table["label"])
    table["loss"] = np.where(table["correct"], 0.1, 2.0) * rng.lognormal(0, 1, images)
    table["error_mass"] = 1 - np.exp(-table["loss"])
    table["confidence"] = 1 - table["error_mass"] / 2
    table["l1"] = 4.0 ** (seed % 4) * rng.lognormal(0, 1, images)
    table["l2"], table["linf"], table["gradient_flag"] = table["l1"] / 30, table["l1"] / 200, 0.0
    table["l1_logit"] = table["l1"] / table["error_mass"]
    for column, value in EDGES.items():
        table[column] = rng.normal(value, 0.1, images)
        table[f"{column}_null"] = rng.normal(0.8 * value, 0.05, images)
    for eps in (1, 2, 4, 8):
        table[f"robust[pgd10,linf,{eps}/255]"] = (table["correct"] & (rng.random(images) < 1 / eps)).astype(float)
    return table


def _histogram(rng: np.random.Generator, shift: int) -> dict[str, np.ndarray]:
    counts = np.zeros((3, Histogram.BINS + 2), np.int64)
    bell = np.exp(-((np.arange(160) - 80) ** 2) / 1500)
    for channel, row in enumerate(counts):
        row[300 + shift + 4 * channel :][:160] = rng.poisson(1e4 * bell)
    found = {"counts": counts, "zeros": np.array([5, 0, 0]), "edges": Histogram.edges()}
    return {f"channel_asymmetry/histogram/{name}": values for name, values in found.items()}


def _spectrum(rng: np.random.Generator) -> dict[str, np.ndarray]:
    edges = 2.0 ** (np.arange(-30, 0) / 3)
    found = {"edges": edges, "gradient_error": np.full(29, 0.05), "image_error": np.full(29, 0.05)}
    found |= {"gradient_mean": rng.lognormal(0, 0.2, 29), "image_mean": edges[:-1] ** -1.5 / 10}
    return {f"gradient_spectrum/{name}": values for name, values in found.items()}


def _profile(seed: int) -> dict[str, np.ndarray]:
    distance = np.arange(17)
    curves = {"area": 1 - 0.85 ** (distance + 1), "gradient": 1 - (0.7 + 0.02 * (seed % 5)) ** (distance + 1)}
    return {f"edge_concentration/profile/{name}": values for name, values in curves.items()}


def _examples(rng: np.random.Generator, size: int, kept: int) -> dict[str, np.ndarray]:
    """Smooth images, the same for each seed, and noise for gradients."""
    y, x = np.mgrid[:size, :size] / size
    waves = [[np.sin(3 * (k + 2) * x + c) * np.cos(2 * (k + 2) * y) for c in range(3)] for k in range(kept)]
    return {
        "index": np.arange(kept) * 3,
        "image": (0.5 + 0.5 * np.array(waves)).astype(np.float16),
        "gradient": rng.normal(0, 0.3, (kept, 3, size, size)).clip(-1, 1).astype(np.float16),
        "scale": 1.0 + np.arange(kept),
    }
