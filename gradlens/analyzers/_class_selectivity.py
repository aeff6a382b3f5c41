from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gradlens._probe import Probe
from gradlens._registry import analyzer
from gradlens._tallies import PerClass
from gradlens.analyzers._base import Analyzer, Reading, Summary


@analyzer
@dataclass
class ClassSelectivity(Analyzer):
    """How much each unit prefers one class; a unit is a channel, averaged over space.

    The index ``(m_max − m_rest) / (m_max + m_rest + 1e-6)`` of class means, 0 no preference, 1 a
    unit that answers to one class only (Leavitt & Morcos 2020). Negative means, which GELU and SiLU
    give, count as zero. It rises without any class signal when classes have few images, so ω², the
    unbiased share of a unit's variance that the class explains (0 none, 1 all), stands beside it.
    """

    readings = (
        Reading("class selectivity", "class_selectivity_mean", "0 none, 1 one class a unit; biased up by few images"),
        Reading("ω² of class", "omega_squared_mean", "share of a unit's variance; unbiased"),
    )

    _classes: int = field(default=0, init=False, repr=False)
    _scale: dict[str, NDArray[np.float64]] = field(default_factory=dict, init=False, repr=False)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("units",)

    def fit(self, pilot: Probe) -> None:
        """Learn the number of classes, the layers and each unit's magnitude."""
        self._classes = pilot.logits.shape[1]
        for layer, values in pilot.units().items():
            peak = values.detach().abs().amax(0).double().cpu().numpy()
            # A unit that slept through the pilot images may still wake up later.
            scale = np.maximum(peak, peak.max() / 64)
            self._scale[layer] = np.maximum(scale, self._scale.get(layer, scale))

    def tallies(self) -> dict[str, PerClass]:
        if not self._scale:
            return {}
        return {"units": PerClass(self._classes, np.concatenate(list(self._scale.values())))}

    def observe(self, probe: Probe) -> dict[str, tuple[NDArray, ...]]:
        if probe.batch.target is None or not self._scale:
            return {}
        units = torch.cat(list(probe.units().values()), 1).detach().float()
        return {"units": (units.cpu().numpy(), probe.target.cpu().numpy())}

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Index and ω² of every unit by layer, and their means with every layer weighing the same."""
        if not self._scale or tallies["units"].count.sum() == 0:
            return Summary({"class_selectivity_mean": math.nan, "omega_squared_mean": math.nan})
        tally: PerClass = tallies["units"]
        index = selectivity_index(tally.mean)
        omega = omega_squared(tally.count, tally.mean, tally.sum_of_squares)
        cuts = np.cumsum([len(s) for s in self._scale.values()])[:-1]
        by_layer = dict(zip(self._scale, np.split(index, cuts), strict=True))
        omega_by_layer = dict(zip(self._scale, np.split(omega, cuts), strict=True))
        scalars = {
            "class_selectivity_mean": _mean_of_means(by_layer.values()),
            "omega_squared_mean": _mean_of_means(omega_by_layer.values()),
        }
        return Summary(scalars, by_layer | {f"{k}:omega_squared": v for k, v in omega_by_layer.items()})


def _mean_of_means(layers: Iterable[NDArray]) -> float:
    means = [layer[np.isfinite(layer)].mean() for layer in layers if np.isfinite(layer).any()]
    return float(np.mean(means)) if means else math.nan


def selectivity_index(class_means: NDArray) -> NDArray[np.float64]:
    """``(U,)`` in [0, 1] from class means ``(K, U)``; classes without images (NaN) are left out."""
    means = np.maximum(class_means[~np.isnan(class_means).any(1)], 0)
    if len(means) < 2:
        return np.full(class_means.shape[1], np.nan)
    top = means.max(0)
    rest = (means.sum(0) - top) / (len(means) - 1)
    return (top - rest) / (top + rest + 1e-6)


def omega_squared(count: NDArray, mean: NDArray, sum_of_squares: NDArray) -> NDArray[np.float64]:
    """``ω² = (SS_B − (K−1) MS_W) / (SS_T + MS_W)``, ``(U,)``; missing for constant units.

    count ``(K,)``, class means ``(K, U)``, total Σx² ``(U,)``.
    """
    seen = count > 0
    count, mean = count[seen, None], mean[seen]
    n, k = count.sum(), len(count)
    if k < 2 or n <= k:
        return np.full(mean.shape[1], np.nan)
    grand = (count * mean).sum(0) / n
    between = (count * (mean - grand) ** 2).sum(0)
    total = sum_of_squares - n * grand**2
    # What the tally cannot resolve counts as constant.
    varies = total > 1e-8 * sum_of_squares
    total = np.maximum(total, between)
    within = (total - between) / (n - k)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(varies, (between - (k - 1) * within) / (total + within), np.nan)
