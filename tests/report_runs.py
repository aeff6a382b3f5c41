"""Runs made of random numbers with the columns, arrays and examples of real ones; and a report taken apart."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd

from gradlens import Run
from gradlens.runs.record import accuracies
from gradlens.stats.tallies import Histogram

EVIL = """<script>alert("x")</script>'"><img src=x onerror=alert(1)>&amp;{{ 7 * 7 }}</script>"""
EDGES = ("corr_contour", "partial_contour", "cosine_contour", "cosine_signed_contour")
EDGES = (*EDGES, "auc_canny", "mass_canny", "distance_canny")
CLASSES = [f"{first} {second}" for first in ("gray", "red", "small", "river", "house") for second in ("cat", "owl")]
READINGS = [
    ["L1 norm, mean", "l1_mean", "nats per unit pixel; ε · L1 is an attack's first-order gain"],
    ["   median", "l1_median", "far below the mean: few images hold most"],
    ["   wrong", "l1_mean_wrong", ""],
    ["share R", "share_r_mean", "1/3 when even, per unit pixel"],
    ["edges, partial", "edge_partial_contour_mean", "log |g| with log contour energy, confounders out"],
]


def made_run(label: str, images: int = 200, examples: int = 3, side: int = 24, seed: int = 0) -> Run:
    """The standard analyzers' columns and four attacks', lognormal sizes, 1 % of the edge measures missing."""
    rng = np.random.default_rng(seed)
    samples = _samples(rng, images)
    summary = {"model": label, "data": "photos/val", "images": images, **accuracies(samples)}
    for name in ("l1", "share_r", "edge_partial_contour"):
        mean, half = samples[name].mean(), 1.96 * samples[name].std() / np.sqrt(images)
        summary |= {f"{name}_mean": mean, f"{name}_mean_low": mean - half, f"{name}_mean_high": mean + half}
    summary["l1_median"] = samples["l1"].median()
    summary["l1_mean_wrong"] = None
    return Run(samples, summary, _arrays(rng), _provenance(label, images), _examples(rng, examples, side))


def _samples(rng: np.random.Generator, images: int) -> pd.DataFrame:
    # The same images for every run, whatever its seed.
    label = np.random.default_rng(images).integers(0, len(CLASSES), images)
    margin = rng.normal(4, 4, images)
    columns = {
        "index": np.arange(images),
        "path": [f"{CLASSES[c].replace(' ', '_')}/ILSVRC2012_val_{k:08d}.JPEG" for k, c in enumerate(label)],
        "label": label,
        "prediction": np.where(margin > 0, label, (label + 1) % len(CLASSES)),
        "correct": margin > 0,
        "confidence": 1 / (1 + np.exp(-np.abs(margin))),
        # A confident image leaves less mass than float32 can hold.
        "error_mass": np.exp(-10 * np.maximum(margin, 0)) / 2,
        "loss": np.log1p(np.exp(-margin)),
        "margin": margin,
        "rank_of_label": np.where(margin > 0, 0.0, 1.0),
    }
    columns |= {name: rng.lognormal(0, 1, images) for name in ("l1", "l2", "linf", "l1_logit")}
    columns["gradient_flag"] = np.zeros(images)
    columns |= {f"share_{c}": rng.normal(1 / 3, 0.02, images) for c in "rgb"}
    columns |= {name: rng.random(images) for name in ("luminance_coherence", "edge_density_canny", "edge_floored")}
    columns |= {f"color_axis_{k}": rng.random(images) for k in (1, 2, 3)}
    for measure in EDGES:
        columns |= _edge_measure(rng, f"edge_{measure}", images)
    for k in (1, 2, 4, 8):
        columns[f"robust[pgd10,linf,{k}/255]"] = (rng.random(images) < 0.5).astype(float)
    columns |= {f"edge_corr_contour_blur{k}": rng.normal(0.4, 0.1, images) for k in (0, 1, 2, 4, 8)}
    return pd.DataFrame(columns)


def _edge_measure(rng: np.random.Generator, name: str, images: int) -> dict[str, np.ndarray]:
    own = rng.normal(0.3, 0.1, images)
    own[rng.random(images) < 0.01] = np.nan
    null = rng.normal(0.2, 0.05, images)
    tails = {"_null": null, "_z": (own - null) / 0.05, "_p": rng.integers(1, 66, images) / 65}
    return {name: own} | {f"{name}{tail}": values for tail, values in tails.items()}


def _arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    counts = np.zeros((3, Histogram.BINS + 2), np.int64)
    counts[:, 300:420] = rng.integers(1, 1000, (3, 120))
    arrays = {
        "channel_asymmetry/histogram/counts": counts,
        "channel_asymmetry/histogram/zeros": np.array([5, 0, 0]),
        "channel_asymmetry/histogram/edges": Histogram.edges(),
    }
    return arrays | {f"edge_concentration/profile/{k}": np.linspace(0.1, 1, 17) for k in ("gradient", "area")}


def _examples(rng: np.random.Generator, count: int, side: int) -> dict[str, np.ndarray]:
    """Smooth images, like photographs, with noise for gradients."""
    coarse = np.random.default_rng(count).random((count, 3, 8, 8)).repeat(-(-side // 8), 2).repeat(-(-side // 8), 3)
    return {
        "index": np.arange(count) * 7 % 197,
        "image": coarse[..., :side, :side].astype(np.float16),
        "gradient": np.clip(rng.normal(0, 0.3, (count, 3, side, side)), -1, 1).astype(np.float16),
        "scale": rng.lognormal(0, 1, count),
    }


def _provenance(label: str, images: int) -> dict[str, object]:
    return {
        "weights": label,
        "arch": "resnet50",
        "data": "photos/val",
        "images": images,
        "data_fingerprint": f"photos of {images}",
        "analyzers": ["sample_asymmetry", "edge_concentration"],
        "seed": 0,
        "precision": "float32",
        "model": {"name": label, "num_classes": len(CLASSES), "class_names": CLASSES, "notes": []},
        "readings": READINGS,
        "primary": ["l1", "edge_partial_contour"],
        "missing": {"l1_mean_wrong": "no image is wrong"},
        "versions": {"gradlens": "0.1.0", "torch": "2.6.0"},
        "argv": ["gradlens", "analyze", f"{label}.pt", "--data", "photos"],
    }


def evil_run() -> Run:
    """Names of everything that a user or a file can name are markup."""
    run = made_run(f"net {EVIL}")
    run.samples["path"] = [f"{EVIL}/{k}" for k in range(len(run.samples))]
    run.samples[f"column {EVIL}"] = 1.0
    names = [f"{k} {EVIL if k % 2 else '<img src=x>'}" for k in range(10)]
    run.provenance["model"] |= {"class_names": names, "notes": [f"beware {EVIL}"]}
    run.provenance["readings"] = [*run.readings, [f"title {EVIL}", "l1_median", EVIL]]
    run.provenance["argv"] = ["gradlens", EVIL]
    run.summary["data"] = EVIL
    return run


class Page(HTMLParser):
    """Elements with their attributes and the text before their first end tag."""

    def __init__(self, file: Path):
        super().__init__()
        self.elements: list[list] = []
        self.feed(file.read_text())

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])
        self.open = True

    def handle_endtag(self, tag):
        self.open = False

    def handle_data(self, data):
        if self.elements and self.open:
            self.elements[-1][2] += data

    def all(self, tag, **attributes):
        return [e for e in self.elements if e[0] == tag and all(e[1].get(k) == v for k, v in attributes.items())]

    def texts(self):
        return [" ".join(text.split()) for _, _, text in self.elements]
