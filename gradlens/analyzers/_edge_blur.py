from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Summary, means
from gradlens.analyzers._edge_scores import CONTOUR_FLOOR, GRADIENT_FLOOR, standardize
from gradlens.core.registry import analyzer
from gradlens.probes.edges.filters import Maps, gaussian_blur
from gradlens.probes.probe import Probe

BLURS = (0, 1, 2, 4, 8)


@analyzer
@dataclass(frozen=True)
class EdgeBlur(Analyzer):
    """How the edge correlation depends on the scale at which gradient and edges are compared.

    ``edge_corr_contour_blur0`` … ``blur8``: Pearson of log Σ_c|g_c| and log contour energy after both were
    blurred by a Gaussian of that many pixels. Speckle in the gradient lowers the correlation at 0 and not at
    larger blurs, so a curve that rises says that |g| lies on contours but grainily; one that is flat says that
    grain does not matter. Compare curves, not their height at one blur: brightness alone raises it at 8.
    """

    objective: str = "loss"

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        direction, _ = probe.scaled_gradient(self.objective)
        magnitude = direction.abs().sum(1, keepdim=True)
        contour = probe.edges("contour_energy")
        columns = {"edge_corr_contour_blur0": _correlation(magnitude, contour)}
        for s in BLURS[1:]:
            columns[f"edge_corr_contour_blur{s}"] = _correlation(gaussian_blur(magnitude, s), gaussian_blur(contour, s))
        return columns

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """The curve's means with 95 % intervals."""
        return Summary(means(samples, [f"edge_corr_contour_blur{s}" for s in BLURS]))


def _correlation(magnitude: Maps, contour: Maps) -> Tensor:
    g, energy = magnitude.flatten(1), contour.flatten(1)
    log_g = standardize(g.maximum(GRADIENT_FLOOR * g.mean(1, keepdim=True)).log())
    return (log_g * standardize(energy.clamp(min=CONTOUR_FLOOR).log())).mean(1).double()
