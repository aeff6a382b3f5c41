from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary
from gradlens.core.registry import analyzer
from gradlens.probes.probe import Probe
from gradlens.stats.selectivity import Units, finite_mean, layer_selectivity, permuted_labels, unit_selectivity
from gradlens.stats.tallies import PerClass

MAX_PERMUTATIONS = 8
# Class sums of all permutations together, 8 bytes each.
NULL_ENTRIES = 2**25
# The summary's names in the order of Layer, and what stands behind a layer's name in the arrays in that of Units.
RAW, NULL, ADJUSTED, OMEGA = NAMES = (
    "class_selectivity_mean",
    "class_selectivity_null_mean",
    "class_selectivity_adjusted_mean",
    "omega_squared_mean",
)
RECTIFIED = tuple(name.replace("selectivity_", "selectivity_rectified_") for name in (RAW, NULL, ADJUSTED))
ALL = (*NAMES, *RECTIFIED)
TAILS = ("", ":null", ":omega_squared")
OF_RECTIFIED = ":rectified"


@analyzer
@dataclass
class ClassSelectivity(Analyzer):
    """How much each unit prefers one class; a unit is a channel, averaged over space.

    ω², the share of a unit's variance that the class explains (0 none, 1 all), is the primary measure: few
    images a class do not raise it. It falls with the number of classes, as one class is a smaller part of all:
    compare it at the same number, ``classes_seen``. The index ``(m_max − m_rest) / (m_max + m_rest + 1e-6)`` of class
    means, 0 no preference, 1 a unit that answers to one class only (Leavitt & Morcos 2020; negative means,
    which GELU and SiLU give, count as zero), rises without any class signal when classes have few images
    or units are sparse. So its mean over permuted labels, from the same images in the same pass, stands
    beside it, and the adjusted index ``(SI − SI0) / (1 − SI0)``: 0 as with permuted labels, 1 one class
    only. Where there is class signal, it grows with the images a class: compare it at equal numbers only.
    It is one of a layer's means, as SI0 of a single unit may be 1.

    Below zero, a unit's mean over space hides its answer, and the index calls GELU's and SiLU's units more
    selective than ReLU's of the same drive (.94 against .64). So their layers are also measured after negative
    values were set to zero before the mean over space, ``class_selectivity_rectified_…``, which compares with ReLU's;
    a network of ReLU alone has the same numbers there.

    Arrays by layer, ``(U,)`` each: ``LAYER`` the index, ``LAYER:null``, ``LAYER:omega_squared``, and those of
    ``LAYER:rectified`` where the layer goes below zero; of the run: ``run:images_a_class`` ``(K,)``,
    ``run:permutations``, of which there are up to 8, as many as 2²⁵ class sums hold and at least one. In the means
    every layer weighs the same, and units that never vary are left out.
    """

    readings = (
        Reading("ω² of class", OMEGA, "share of a unit's variance, 0 none, 1 all; only at equal numbers of classes"),
        Reading("class selectivity, adjusted", ADJUSTED, "0 as with permuted labels; only at equal images a class"),
        Reading("   of rectified units", RECTIFIED[2], "negative values set to 0, as GELU and SiLU need beside ReLU"),
        Reading("   raw index", RAW, "biased up by few images a class"),
        Reading("   of permuted labels", NULL, "what the raw index is without any class signal"),
    )

    _classes: int = field(default=0, init=False, repr=False)
    _scale: dict[str, NDArray[np.float64]] = field(default_factory=dict, init=False, repr=False)
    _expected: pd.Series = field(default_factory=lambda: pd.Series(dtype=np.int64), init=False, repr=False)
    _permuted: pd.DataFrame = field(default_factory=pd.DataFrame, init=False, repr=False)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("units", "rectified")

    def expect(self, index: NDArray, label: NDArray) -> None:
        """Hear all labels, which are permuted once it is known how many permutations fit into memory."""
        self._expected = pd.Series(label, index=index)

    def fit(self, pilot: Probe) -> None:
        """Learn the number of classes, the layers and each unit's magnitude; permute the labels."""
        first, self._classes = not self._scale, pilot.logits.shape[1]
        for layer, values in _units(pilot).items():
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
        units = torch.cat(list(_units(probe).values()), 1).detach().float().cpu().numpy()
        permuted = self._permuted.reindex(probe.batch.index.cpu().numpy(), fill_value=-1).to_numpy(np.int64)
        return {"units": (units, np.column_stack([probe.batch.target.cpu().numpy(), permuted]))}

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Three numbers of every unit by layer, and their means with every layer weighing the same."""
        missing = self._missing(tallies)
        if RAW in missing:
            return Summary(dict.fromkeys(missing, math.nan), missing=missing)
        count = tallies["units"].count[: self._classes]
        found = self._layers(tallies["units"], NULL not in missing)
        plain = {layer: units for layer, units in found.items() if not layer.endswith(OF_RECTIFIED)}
        # A layer that does not go below zero is rectified as it is.
        rectified = [found.get(f"{layer}{OF_RECTIFIED}", units) for layer, units in plain.items()]
        scalars = _means(NAMES, plain.values()) | _means(RECTIFIED, rectified)
        if math.isnan(scalars[RAW]):
            missing = dict.fromkeys(ALL, "no unit varies over the images")
        seen = count[count > 0]
        scalars |= {"images_a_class_min": int(seen.min()), "images_a_class_median": float(np.median(seen))}
        scalars |= {"classes_seen": len(seen)}
        scalars["constant_units"] = int(sum(np.isnan(units.raw).sum() for units in plain.values()))
        arrays = {
            f"{layer}{tail}": values
            for layer, units in found.items()
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

    def _layers(self, units: PerClass, nulls: bool) -> dict[str, Units]:
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
            return dict.fromkeys(ALL, "the model has no activation layer")
        count, *permuted = tallies["units"].count.reshape(-1, self._classes)
        if not count.any():
            return dict.fromkeys(ALL, "not every image has a known label")
        if (count > 0).sum() == 1:
            return dict.fromkeys(ALL, "all images are of one class")
        missing = {}
        if not permuted or any(other.sum() != count.sum() for other in permuted):
            missing = dict.fromkeys(
                (NULL, ADJUSTED, *RECTIFIED[1:]), "images came that the analyzer was not told of beforehand"
            )
        if count.max() == 1:
            missing |= dict.fromkeys((ADJUSTED, RECTIFIED[2], OMEGA), "no class has more than one image")
        return missing


def _units(probe: Probe) -> dict[str, Tensor]:
    """Every layer's units, and again after rectification where that changes them."""
    return probe.units() | {f"{layer}{OF_RECTIFIED}": values for layer, values in probe.rectified_units().items()}


def _means(names: Sequence[str], layers: Iterable[Units]) -> dict[str, float]:
    """The layers' numbers, each layer weighing the same; those of Layer in order, as many as there are names."""
    numbers = zip(*map(layer_selectivity, layers), strict=True)
    return {name: finite_mean(values) for name, values in zip(names, numbers, strict=False)}
