from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary
from gradlens.core.registry import analyzer
from gradlens.core.registry import attack as attacks_by_name
from gradlens.core.registry import corruption as corruptions_by_name
from gradlens.core.types import UserError
from gradlens.probes.attacks import attack
from gradlens.probes.corruptions import SEVERITIES, corrupt
from gradlens.probes.probe import Probe
from gradlens.stats.dimensionality import dimensions
from gradlens.stats.selectivity import finite_mean
from gradlens.stats.tallies import Covariance

FRACTION, RATIO = "dimensionality_mean", "participation_ratio_mean"
OF_CHANGE, GAIN = "dimensionality_change_mean", "dimensionality_gain_mean"
CLEAN, CHANGED, CHANGE = "", ":changed", ":change"
# Which of the shares of variance the fraction is of: 95 %.
SHARE = 1


@analyzer
@dataclass
class Dimensionality(Analyzer):
    """How many directions each layer's units fill over the images; a unit is a channel, averaged over space.

    ``dimensionality_mean`` is the number of principal components that hold 95 % of the variance of a layer's
    activations, over as many as there can be (the units, or one less than the images), averaged over layers:
    near 0 activations lie on few directions, near 1 they fill their space. ``participation_ratio_mean`` is the
    spread of the variance over directions, without a threshold, in directions. Both grow with the number of
    images (a spectrum of 66 components at 100 images has 183 at 5,000): compare at equal ``dimensionality_images``.

    change: ``fog:3``, a corruption and its severity, or ``pgd:eps=4/255``, an attack: the same of what it changes,
    the differences of the activations ``dimensionality_change_mean``, and of the changed activations minus the
    clean ones ``dimensionality_gain_mean``. A difference below 1e-5 of a unit's size is none, so that rounding
    fills no direction.

    Arrays by layer: ``LAYER:components`` for 90, 95 and 99 % of the variance, ``LAYER:participation_ratio``,
    ``LAYER:spectrum`` ``(U,)``, the eigenvalues from the largest; with a change also of ``LAYER:changed`` and
    ``LAYER:change``. Source: Leavitt & Morcos 2020; Gao et al. 2017.
    """

    change: str = ""

    _scale: dict[str, NDArray[np.float64]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        name, _, severity = self.change.partition(":")
        if name in corruptions_by_name:
            if severity not in map(str, SEVERITIES):
                raise UserError(f"dimensionality: change={self.change} has no severity; give 1 to 5, as in {name}:3")
        elif name and name not in attacks_by_name:
            raise UserError(
                f"dimensionality: change={self.change} is no corruption or attack; give fog:3 or pgd:eps=4/255"
            )

    @property
    def readings(self) -> tuple[Reading, ...]:  # type: ignore[override]
        """Those of a change where there is one."""
        plain = (
            Reading("dimensionality", FRACTION, "components for 95 % of variance, of all; only at equal images"),
            Reading("   participation ratio", RATIO, "directions; 1 a line, as many as units a ball"),
        )
        changed = (
            Reading("   of what changes", OF_CHANGE, "the same of the differences of activations"),
            Reading("   gained by the change", GAIN, "changed minus clean activations"),
        )
        return plain + changed if self.change else plain

    @property
    def needs(self) -> tuple[str, ...]:
        return ("units",)

    def fit(self, pilot: Probe) -> None:
        """Learn the layers and each unit's magnitude."""
        for layer, values in pilot.units().items():
            peak = _numpy(values.detach().abs().amax(0))
            # A unit that slept through the pilot images may still wake up later.
            scale = np.maximum(peak, peak.max() / 64)
            self._scale[layer] = np.maximum(scale, self._scale.get(layer, scale))

    def tallies(self) -> dict[str, Covariance]:
        ways = (CLEAN, CHANGED, CHANGE) if self.change else (CLEAN,)
        return {f"{layer}{way}": Covariance(scale) for layer, scale in self._scale.items() for way in ways}

    def observe(self, probe: Probe) -> dict[str, tuple[NDArray, ...]]:
        if not self._scale:
            return {}
        found = {CLEAN: probe.units()}
        if self.change:
            found[CHANGED] = self._changed(probe).units()
            found[CHANGE] = {layer: values - found[CLEAN][layer] for layer, values in found[CHANGED].items()}
        return {f"{layer}{way}": (_numpy(values),) for way, units in found.items() for layer, values in units.items()}

    def _changed(self, probe: Probe) -> Probe:
        name, _, severity = self.change.partition(":")
        if name not in corruptions_by_name:
            return attack(probe, self.change)
        batch = probe.batch
        return probe.at(corrupt(batch.image, name, int(severity), probe.seed, batch.index.tolist()))

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Every layer's components, ratio and spectrum; their means with every layer weighing the same."""
        names = (FRACTION, RATIO, *((OF_CHANGE, GAIN) if self.change else ()))
        if not tallies:
            return _none(names, "the model has no activation layer")
        images = min(tally.count for tally in tallies.values())
        if images < 2:
            return _none(names, "fewer than two images")
        layers = {name: _layer(tally) for name, tally in tallies.items()}
        scalars = {FRACTION: self._mean(layers, CLEAN), RATIO: self._mean(layers, CLEAN, "participation_ratio")}
        if self.change:
            gain = self._mean(layers, CHANGED) - scalars[FRACTION]
            scalars |= {OF_CHANGE: self._mean(layers, CHANGE), GAIN: gain}
        missing = {name: "no unit varies over the images" for name, value in scalars.items() if math.isnan(value)}
        left_out = max(tally.beyond for tally in tallies.values())
        counts = {"dimensionality_images": images, "dimensionality_images_left_out": left_out}
        arrays = {f"{layer}:{what}": array for layer, found in layers.items() for what, array in found.items()}
        return Summary(scalars | counts, arrays, missing)

    def _mean(self, layers: Mapping[str, Mapping[str, NDArray]], way: str, what: str = "fraction") -> float:
        return finite_mean([float(layers[f"{layer}{way}"][what]) for layer in self._scale])


def _layer(tally: Covariance) -> dict[str, NDArray]:
    """One layer's numbers; the fraction is of the components that there can be."""
    spectrum = np.linalg.eigvalsh(tally.covariance)[::-1]
    # Below what the tally rounds to there is no direction.
    spectrum = np.where(spectrum > (tally.unit.max() ** 2) / 4, spectrum, 0.0)
    found = dimensions(spectrum)
    most = min(len(spectrum), tally.count - 1)
    return {
        "components": found.components,
        "fraction": np.array(found.components[SHARE] / most),
        "participation_ratio": np.array(found.participation_ratio),
        "spectrum": spectrum,
    }


def _none(names: tuple[str, ...], reason: str) -> Summary:
    return Summary(dict.fromkeys(names, math.nan), missing=dict.fromkeys(names, reason))


def _numpy(values: Tensor) -> NDArray[np.float64]:
    return values.detach().double().cpu().numpy()
