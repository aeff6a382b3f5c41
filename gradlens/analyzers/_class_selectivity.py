from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gradlens.analyzers._base import Analyzer, Reading, Summary
from gradlens.core.registry import analyzer
from gradlens.probes.probe import Probe
from gradlens.stats.selectivity import Selectivity, finite_mean, layer_selectivity, permuted_labels, unit_selectivity
from gradlens.stats.tallies import PerClass

MAX_PERMUTATIONS = 8
# Class sums of all permutations together, 8 bytes each.
NULL_ENTRIES = 2**25
# The summary's names, and what stands behind a layer's name in the arrays; in the order of Selectivity.
RAW, NULL, ADJUSTED, OMEGA = NAMES = (
    "class_selectivity_mean",
    "class_selectivity_null_mean",
    "class_selectivity_adjusted_mean",
    "omega_squared_mean",
)
TAILS = ("", ":null", ":adjusted", ":omega_squared")


@analyzer
@dataclass
class ClassSelectivity(Analyzer):
    """How much each unit prefers one class; a unit is a channel, averaged over space.

    ω², the share of a unit's variance that the class explains (0 none, 1 all), is the primary measure: few
    images a class do not raise it. The index ``(m_max − m_rest) / (m_max + m_rest + 1e-6)`` of class
    means, 0 no preference, 1 a unit that answers to one class only (Leavitt & Morcos 2020; negative means,
    which GELU and SiLU give, count as zero), rises without any class signal when classes have few images
    or units are sparse. So its mean over permuted labels, from the same images in the same pass, stands
    beside it, and the adjusted index ``(SI − SI0) / (1 − SI0)``: 0 as with permuted labels, 1 one class
    only. Where there is class signal, it grows with the images a class: compare it at equal numbers only.

    Arrays by layer, ``(U,)`` each: ``LAYER`` the index, ``LAYER:null``, ``LAYER:adjusted``,
    ``LAYER:omega_squared``; of the run: ``run:images_a_class`` ``(K,)``, ``run:permutations``, of which
    there are up to 8, as many as 2²⁵ class sums hold and at least one. In the means every layer weighs
    the same, and units that never vary are left out.
    """

    readings = (
        Reading("ω² of class", OMEGA, "share of a unit's variance, 0 none, 1 all; unbiased by few images"),
        Reading("class selectivity, adjusted", ADJUSTED, "0 as with permuted labels; only at equal images a class"),
        Reading("   raw index", RAW, "biased up by few images a class"),
        Reading("   of permuted labels", NULL, "what the raw index is without any class signal"),
    )

    _classes: int = field(default=0, init=False, repr=False)
    _scale: dict[str, NDArray[np.float64]] = field(default_factory=dict, init=False, repr=False)
    _expected: pd.Series = field(default_factory=lambda: pd.Series(dtype=np.int64), init=False, repr=False)
    _permuted: pd.DataFrame = field(default_factory=pd.DataFrame, init=False, repr=False)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("units",)

    def expect(self, index: NDArray, label: NDArray) -> None:
        """Hear all labels, which are permuted once it is known how many permutations fit into memory."""
        self._expected = pd.Series(label, index=index)

    def fit(self, pilot: Probe) -> None:
        """Learn the number of classes, the layers and each unit's magnitude; permute the labels."""
        first, self._classes = not self._scale, pilot.logits.shape[1]
        for layer, values in pilot.units().items():
            peak = values.detach().abs().amax(0).double().cpu().numpy()
            # A unit that slept through the pilot images may still wake up later.
            scale = np.maximum(peak, peak.max() / 64)
            self._scale[layer] = np.maximum(scale, self._scale.get(layer, scale))
        if first and self._scale:
            self._permuted = self._permute()

    def tallies(self) -> dict[str, PerClass]:
        if not self._scale:
            return {}
        labellings = 1 + self._permuted.shape[1]
        return {"units": PerClass(labellings * self._classes, np.concatenate(list(self._scale.values())))}

    def observe(self, probe: Probe) -> dict[str, tuple[NDArray, ...]]:
        if probe.batch.target is None or not self._scale:
            return {}
        units = torch.cat(list(probe.units().values()), 1).detach().float().cpu().numpy()
        permuted = self._permuted.reindex(probe.batch.index.cpu().numpy(), fill_value=-1).to_numpy(np.int64)
        return {"units": (units, np.column_stack([probe.target.cpu().numpy(), permuted]))}

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Four numbers of every unit by layer, and their means with every layer weighing the same."""
        missing = self._missing(tallies)
        if RAW in missing:
            return Summary(dict.fromkeys(missing, math.nan), missing=missing)
        count = tallies["units"].count[: self._classes]
        layers = self._layers(tallies["units"], NULL not in missing)
        means = zip(*(layer_selectivity(units) for units in layers.values()), strict=True)
        scalars = {name: finite_mean(values) for name, values in zip(NAMES, means, strict=True)}
        if math.isnan(scalars[RAW]):
            missing = dict.fromkeys(NAMES, "no unit varies over the images")
        seen = count[count > 0]
        scalars |= {"images_a_class_min": int(seen.min()), "images_a_class_median": float(np.median(seen))}
        scalars["constant_units"] = int(sum(np.isnan(units.raw).sum() for units in layers.values()))
        arrays = {
            f"{layer}{tail}": values
            for layer, units in layers.items()
            for tail, values in zip(TAILS, units, strict=True)
        }
        of_run = {"run:images_a_class": count, "run:permutations": np.array(self._permuted.shape[1])}
        return Summary(scalars, arrays | of_run, missing)

    def _permute(self) -> pd.DataFrame:
        """A column a permutation, a row an image; class k of permutation p is row ``(1 + p) · K + k`` of the tally."""
        entries = self._classes * sum(map(len, self._scale.values()))
        number = min(MAX_PERMUTATIONS, max(1, NULL_ENTRIES // entries)) if len(self._expected) else 0
        index, label = self._expected.index.to_numpy(), self._expected.to_numpy()
        dealt = permuted_labels(index, label, number)
        return pd.DataFrame(np.where(dealt < 0, -1, dealt + self._classes * np.arange(1, 1 + number)), index=index)

    def _layers(self, units: PerClass, nulls: bool) -> dict[str, Selectivity]:
        """Every layer's units; without the null where it does not hold the same images."""
        count, squares = units.count[: self._classes], units.sum_of_squares
        means = units.mean.reshape(-1, self._classes, len(squares))
        null = means[1 : None if nulls else 1]
        ends = np.cumsum([len(scale) for scale in self._scale.values()])
        columns = (slice(end - len(scale), end) for end, scale in zip(ends, self._scale.values(), strict=True))
        return {
            layer: unit_selectivity(count, means[0, :, at], squares[at], null[:, :, at])
            for layer, at in zip(self._scale, columns, strict=True)
        }

    def _missing(self, tallies: Mapping[str, Any]) -> dict[str, str]:
        """Why a number cannot be had, by its name."""
        if not self._scale:
            return dict.fromkeys(NAMES, "the model has no activation layer")
        count, *permuted = tallies["units"].count.reshape(-1, self._classes)
        if not count.any():
            return dict.fromkeys(NAMES, "not every image has a known label")
        if (count > 0).sum() == 1:
            return dict.fromkeys(NAMES, "all images are of one class")
        missing = {}
        if not permuted or any(other.sum() != count.sum() for other in permuted):
            missing = dict.fromkeys((NULL, ADJUSTED), "images came that the analyzer was not told of beforehand")
        if count.max() == 1:
            missing |= dict.fromkeys((ADJUSTED, OMEGA), "no class has more than one image")
        return missing
