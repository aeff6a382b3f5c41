"""Synthetic runs with all that figures draw, and trainings; and what was drawn, read back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from synthetic import synthetic

from gradlens import Run
from gradlens.core.names import with_limits
from gradlens.core.registry import figure as figures
from gradlens.plotting import paper_style
from gradlens.plotting.panels import HANDED_OVER
from gradlens.runs.history import History
from gradlens.runs.record import accuracies
from gradlens.stats.intervals import mean_interval

GRID = np.linspace(0.01, 0.15, 15)
LAYERS = ("stem", "layer1", "layer2", "head")
ATTACK = "[pgd10,linf,4/255]"
READINGS = [
    ["L1 norm, mean", "l1_mean", "nats per unit pixel"],
    ["   median", "l1_median", ""],
    ["edges, partial", "edge_partial_contour_mean", "log |g| with log contour energy"],
    [f"robust (%), {ATTACK.strip('[]').replace(',', ' ')}", f"robust_accuracy{ATTACK}", "at most"],
]


def a_run(name: str = "natural", seed: int = 0, images: int = 200, arch: str = "resnet50", **options: int) -> Run:
    """A synthetic run of one attack, with minimal ε, units, perturbations, and a summary of its columns."""
    run, rng = synthetic(name, seed, images, **options), np.random.default_rng(seed)
    samples = run.samples.drop(columns=[c for c in run.samples if c.startswith("robust[")])
    _attacked(samples, rng, seed)
    summary = {**_summary(samples, run.summary), **_geometry(samples, seed)}
    model = {"arch": arch, "spec": f"{name}.pt"}
    provenance = {**run.provenance, "weights": f"{name}{seed}", "arch": arch, "model": model, "readings": READINGS}
    arrays = {**run.arrays, **_curve(samples), **_perturbations(rng), **_units(rng), **_corrupted(rng)}
    arrays |= _responses(seed)
    return replace(run, samples=samples, arrays=arrays, provenance=provenance, summary=summary)


def a_history(
    label: str = "gradnorm", seed: int = 0, epochs: int = 12, done: int | None = None, **config: Any
) -> History:
    """A training that learns, with the columns of ``history.csv``; weight costs accuracy and gives robustness."""
    rng = np.random.default_rng(seed)
    recipe = {"data": "digits", "epochs": epochs, "seed": seed, "weight": 1.0, "penalty": "gradnorm"}
    recipe |= {
        "eval_eps": "4/255",
        "activation": "gelu",
        "arch": "digits_cnn",
        "out": f"runs/{label}/s{seed}",
        **config,
    }
    epoch = np.arange(1, (epochs if done is None else done) + 1)
    clean = 1 - np.exp(-epoch / 3) * 0.8 - 0.05 * recipe["weight"] + rng.normal(0, 0.01, len(epoch))
    frame = pd.DataFrame({"epoch": epoch, "loss": 2.3 * np.exp(-epoch / 4) + 0.1, "penalty": 0.5 * np.exp(-epoch / 6)})
    frame["val_top1"] = np.clip(clean, 0, 1)
    robust = np.clip(clean * (0.4 + 0.2 * recipe["weight"]), 0, 1)
    frame["val_pgd10"] = np.where((epoch % 2 == 0) | (epoch == epochs), robust, np.nan)
    frame["weight"] = np.minimum(1, epoch / 5) * recipe["weight"] if recipe["penalty"] else 0.0
    frame["lr"] = 1e-3 * (1 + np.cos(np.pi * epoch / epochs)) / 2
    return History(frame, recipe, {"model": label})


def given(name: str, count: int = 2) -> list[Any]:
    """What a figure draws: trainings, runs, or the one run that it takes."""
    if name == "penalty_weight_sweep":
        return [a_history(f"weight={w}", seed, weight=w) for w in (0.1, 0.3, 1.0) for seed in range(count)]
    if name in ("accuracy_over_epochs", "learning_curves"):
        return [a_history(f"model-{k}", k) for k in range(count)]
    archs = ("resnet50", "swin_b", "vit_small")
    return [a_run(f"model-{k}", k, arch=archs[k % 3]) for k in range(1 if name == "model_card" else count)]


def write(drawable: Run | History, folder: Path) -> None:
    """Into a folder of its own, as an analysis or a training leaves it."""
    if isinstance(drawable, Run):
        drawable.save(folder / drawable.label)
        return
    out = folder / f"{drawable.label}-{drawable.config['seed']}"
    out.mkdir(parents=True)
    drawable.frame.to_csv(out / "history.csv", index=False)
    (out / "config.json").write_text(json.dumps(drawable.config))


# --- reading back


def drawn(name: str, *what: Run | History, **options: Any) -> Figure:
    """The figure itself, without the rooms around it."""
    with paper_style():
        found = figures.build(name)(list(what), **options)
    return found if isinstance(found, Figure) else found.get_figure(root=True)


def line(ax: Axes, label: str) -> tuple[np.ndarray, np.ndarray]:
    (found,) = [one for one in ax.lines if one.get_label() == label]
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float)


def band(ax: Axes, label: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a band is, its lower and its upper limits; a law says that they are on the axes."""
    (rows,) = [frame for frame in HANDED_OVER[ax] if set(frame["series"]) == {label}]
    return tuple(rows[column].to_numpy() for column in ("x", "low", "high"))


def handed_over(ax: Axes) -> list[dict[str, Any]]:
    return [row for frame in HANDED_OVER.get(ax, ()) for row in frame.to_dict("records")]


def is_seen(ax: Axes, row: dict[str, Any]) -> bool:
    """Whether the marks on the axes, or their words, show a row of the numbers."""
    x, y, low, high = (float(row.get(name, np.nan)) for name in ("x", "y", "low", "high"))
    if row["kind"] == "text":
        shown = [ax.get_title(), *(text.get_text() for text in ax.texts)]
        return set(row["text"].split()) <= set(" ".join(shown).split())
    if row["kind"] == "bin":
        points = [(low, y), (high, y)]
    elif row["kind"] in ("interval", "quartiles"):
        points = [(x, y), (low, y), (high, y)]
    else:
        points = [(x, y), (x, low), (x, high)] if np.isfinite(low) else [(x, y)]
    marks = _corners(ax)
    return all(_near(marks, point).any() for point in points)


def _corners(ax: Axes) -> np.ndarray:
    """Every corner and mark of the lines, patches and collections, in the units of the axes."""
    found = [np.transpose(one.get_data()) for one in ax.lines]
    found += [one.get_patch_transform().transform_path(one.get_path()).vertices for one in ax.patches]
    for one in ax.collections:
        found += [np.asarray(one.get_offsets())] if isinstance(one, PathCollection) else []
        found += [path.vertices for path in one.get_paths()] if not isinstance(one, PathCollection) else []
    return np.concatenate([np.asarray(part, float).reshape(-1, 2) for part in found])


def _near(marks: np.ndarray, point: tuple[float, float]) -> np.ndarray:
    """What is missing of a point is passed over, such as the height of an upright line."""
    close = [np.isclose(marks[:, k], point[k], rtol=1e-6, atol=1e-12) | np.isnan(point[k]) for k in (0, 1)]
    return close[0] & close[1]


def footnote(figure: Figure) -> str:
    return " ".join(figure.get_supxlabel().split())


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for ax in figure.axes for text in ax.texts]


# --- what analyzers give


def _attacked(samples: pd.DataFrame, rng: np.random.Generator, seed: int) -> None:
    """Minimal ε on the grid; models of larger seeds break earlier."""
    robust = np.ceil(rng.exponential(4, len(samples)) / (1 + seed / 4)).astype(int)
    level = np.where(samples["correct"], np.minimum(robust, len(GRID) + 1), 0)
    withstands = np.where(rng.random(len(samples)) < 0.1, 5, 4)
    samples["eps_min[linf]"] = np.array([0, *GRID, GRID[-1]])[level]
    samples["broken_by[linf]"] = np.where(level == 0, 0, np.where(level > len(GRID), withstands, 1))
    samples[f"robust{ATTACK}"] = (level > 2).astype(float)


def _summary(samples: pd.DataFrame, summary: dict[str, Any]) -> dict[str, Any]:
    found = {**summary, **accuracies(samples)}
    found |= {"l1_mean": float(samples["l1"].mean()), "l1_median": float(samples["l1"].median())}
    for column in ("edge_partial_contour", "edge_auc_canny"):
        found |= with_limits(f"{column}_mean", mean_interval(samples[column]))
    return {**found, f"robust_accuracy{ATTACK}": 100 * float(samples[f"robust{ATTACK}"].mean())}


def _corrupted(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Accuracy that falls with severity, of two short names and a long one."""
    accuracy = np.linspace(80, 20, 5) + rng.uniform(-10, 10, (3, 5))
    of = "corruption_robustness"
    names = np.array(["fog", "snow", "elastic_transform"])
    return {f"{of}/accuracy": accuracy, f"{of}/corruptions": names, f"{of}/severities": np.arange(1, 6)}


def _curve(samples: pd.DataFrame) -> dict[str, np.ndarray]:
    eps, by = samples["eps_min[linf]"].to_numpy(), samples["broken_by[linf]"].to_numpy()
    beyond, radii = np.where(by == 5, np.inf, np.where(by == 4, 0.5, eps)), np.array([0, *GRID, 0.5])
    accuracy = 100 * (beyond[None] > radii[:, None]).mean(1)
    return {"minimal_eps/curve/eps": radii, "minimal_eps/curve/accuracy": accuracy}


def _perturbations(rng: np.random.Generator) -> dict[str, np.ndarray]:
    image = rng.random((3, 3, 24, 24)).astype(np.float16)
    delta = np.sign(rng.normal(size=image.shape)) * 4 / 255
    kept = {"index": np.array([3, 0, 6]), "image": image, "perturbation": delta.astype(np.float16)}
    kept |= {"outcome": np.array([0, 1, 2]), "attack": np.array("pgd10,linf,4/255")}
    return {f"perturbations/{name}": array for name, array in kept.items()}


def _units(rng: np.random.Generator) -> dict[str, np.ndarray]:
    found = {}
    for k, layer in enumerate(LAYERS):
        omega = rng.beta(1 + k, 8, 32)
        units = {"": 0.3 + 0.5 * omega, ":null": 0.3 + 0 * omega, ":omega_squared": omega}
        found |= {f"class_selectivity/{layer}{tail}": values for tail, values in units.items()}
    return {**found, "class_selectivity/run:images_a_class": np.array([20, 20, 0])}


def _geometry(samples: pd.DataFrame, seed: int) -> dict[str, float]:
    """Curvature and linearity of each image; the Lipschitz constant of the run. Larger seeds are smoother."""
    rng = np.random.default_rng(100 + seed)
    samples["curvature"] = 10.0 ** (1 - seed) * rng.lognormal(0, 1, len(samples))
    samples["linearity_error"] = 10.0 ** (-4 - 2 * seed) * rng.lognormal(0, 2, len(samples))
    return {"local_lipschitz_scaled_median": 30.0 / (1 + seed)}


def _responses(seed: int) -> dict[str, np.ndarray]:
    s, steep = np.linspace(0, 2, 16), 1 / (1 + seed)
    found = {"s": s, "loss": 0.3 + 4 * steep * s, "l1": 100 * steep * (1 + s), "curvature": 20 * steep / (0.5 + s)}
    found |= {f"{name}_error": 0.05 * found[name] for name in ("loss", "l1", "curvature")}
    arrays = {f"attack_interpolation/{name}": values for name, values in found.items()}
    cutoff = np.array([*np.arange(1, 15) / 28, 0.5**0.5])
    lowpass, noise = 90 * (1 - np.exp(-cutoff * (10 - seed))), 90 - 40 * steep * np.exp(-((np.arange(8) - 3) ** 2))
    for kind, accuracy in (("lowpass", lowpass), ("noise", noise)):
        values = {"accuracy": accuracy, "low": accuracy - 4, "high": accuracy + 4}
        arrays |= {f"frequency_response/{kind}/{name}": value for name, value in values.items()}
    edges = {"lowpass/cutoff": cutoff, "noise/edges": np.linspace(0, 0.5**0.5, 9)}
    return arrays | {f"frequency_response/{name}": value for name, value in edges.items()}
