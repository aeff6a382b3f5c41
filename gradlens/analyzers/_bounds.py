from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary, explained_means, means
from gradlens.core.names import unknown
from gradlens.core.registry import analyzer
from gradlens.core.types import UserError
from gradlens.probes.exact import in_float64
from gradlens.probes.forward import Values
from gradlens.probes.hessian import LINEAR, Hessian
from gradlens.probes.objectives.logits import loss
from gradlens.probes.probe import Probe

GAP = "probability_gap"
# The order of the gradient's norm that is dual to a distance.
DUAL = {"l2": 2.0, "linf": 1.0}
# How far the images from which the largest curvature comes are iterated.
TOLERANCE, STEPS = 1e-2, 100
NONE_RIGHT = "no image is classified right"


@analyzer
@dataclass
class Bounds(Analyzer):
    """How far the nearest mistake is, by the steepest slope and strongest curvature seen: estimates, no certificates.

    With ``l = max_{k≠y} p_k − p_y`` and its gap below zero, ``max(0, −l)``: ``l_bound = gap / L``, in pixels of
    [0, 1] and in ``norm`` (``l2``, ``linf``), with L the largest ``‖∇l‖`` (dual norm) of the run's pilot images
    and the image itself. ``c_bound``, in L2: the root of ``‖∇l‖ d + C d² / 2 = gap``, with C the largest spectral
    norm of the Hessian of l over the pilot images; missing for piecewise-linear networks, and for ``linf``. An
    image that is wrong has 0, and is left out of the means. Both would be certificates were L and C of all
    images rather than of those looked at. ``fd_norm``: ``|l(x + hv) − l(x)| / h`` of the cross-entropy along its
    gradient's direction v, in float64; near ``l2`` where the loss is straight over ``h`` (pixels, L2).

    High bounds: far from a mistake. ``slope_max``, ``curvature_max``: L and C over the pilot images.
    Source: Finlay and Oberman 2021.
    """

    readings = (
        Reading("first-order bound, mean", "l_bound_mean", "pixels; an estimate, of images classified right"),
        Reading("   second-order", "c_bound_mean", "pixels in L2; an estimate, for smooth networks"),
        Reading("   finite-difference norm", "fd_norm_mean", "nats per unit pixel; near the L2 norm"),
    )
    # For tests, which cannot wait for Hessians.
    cheap: ClassVar[str] = "steps=3"

    norm: str = "l2"
    h: float = 0.01
    steps: int = STEPS
    _slope: float = field(default=0.0, init=False, repr=False)
    _bend: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.norm not in DUAL:
            raise UserError(unknown("norm of bounds", self.norm, DUAL))
        if not self.h > 0:
            raise UserError(f"bounds: h is {self.h:g}; wanted a positive step in pixels (L2), such as 0.01")

    def fit(self, pilot: Probe) -> None:
        """See the largest slope and curvature of the pilot images."""
        self._slope = max(self._slope, float(self._slopes(pilot).max()))
        hessian = Hessian(pilot, GAP)
        norm = hessian.spectral(TOLERANCE, self.steps).norm
        bend = float(torch.where(hessian.kinked(), torch.nan, norm).max())
        # A comparison with NaN is false, which would forget it.
        self._bend = max(self._bend, bend) if math.isfinite(self._bend + bend) else math.nan

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        gap, slope = (-probe.value(GAP)).clamp(min=0), self._slopes(probe)
        bend = self._bend if self.norm == "l2" else math.nan
        columns = {
            "l_bound": gap / slope.clamp(min=self._slope),
            # The root, written without the difference of its two terms.
            "c_bound": 2 * gap / (slope + (slope.square() + 2 * bend * gap).sqrt()),
            "fd_norm": self._finite_difference(probe),
        }
        return {name: torch.where(probe.predicted, values, torch.nan) for name, values in columns.items()}

    def _slopes(self, probe: Probe) -> Values:
        direction, scale = probe.scaled_gradient(GAP)
        return torch.linalg.vector_norm(direction.flatten(1).double(), DUAL[self.norm], dim=1) * scale

    def _finite_difference(self, probe: Probe) -> Values:
        direction, exact = probe.scaled_gradient("loss").direction.double(), in_float64(probe)
        size = direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        along = direction / torch.where(size > 0, size, 1)
        there, here = (loss(exact(probe.batch.image + step * along), probe.target) for step in (self.h, 0))
        return (there - here).abs() / self.h

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Means with 95 % intervals, of bounds over the images that are right; the pilot images' maxima."""
        right = samples[samples["correct"].astype(bool)] if "correct" in samples else samples
        numbers = means(right, ["l_bound"]) | means(samples, ["fd_norm"]) | {"slope_max": self._slope}
        bent = means(right, ["c_bound"]) | {"curvature_max": self._bend}
        why = NONE_RIGHT if not len(right) else LINEAR if self.norm == "l2" else "it is a distance in L2"
        first, second = explained_means(numbers, NONE_RIGHT), explained_means(bent, why)
        return Summary({**first.scalars, **second.scalars}, missing={**first.missing, **second.missing})
