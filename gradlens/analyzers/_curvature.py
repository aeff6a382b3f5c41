from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary, explained_means, means, medians, merged
from gradlens.core.names import unknown
from gradlens.core.registry import analyzer
from gradlens.core.types import UserError
from gradlens.probes.forward import Images, Values
from gradlens.probes.hessian import LINEAR, Hessian
from gradlens.probes.probe import Probe

ESTIMATORS = ("converged", "paper")
PAPER_STEPS = 20


@analyzer
@dataclass(frozen=True)
class Curvature(Analyzer):
    """How fast the gradient turns: the largest eigenvalue of the loss's Hessian, by itself and over the gradient.

    ``hessian_norm``: ``|λ|_max`` of ``∂² loss / ∂ image²`` as ``‖H u‖`` of a converged power iteration on
    Hessian–vector products, in nats per squared unit pixel. ``curvature``: that over ``‖∇ loss‖₂ + 1e-6``, per
    unit pixel; its inverse is the distance at which the gradient has changed by its own size. High: a linear
    picture of the loss holds for small steps only. ``hessian_steps``: products taken; an image is done when its
    norm is within ``tolerance`` of where its steps lead; where ``steps`` are not enough it is one more, and the
    norm a lower bound. ``hessian_unconverged``: the share of those, in percent. Missing for piecewise-linear
    networks (ReLU), where the second derivative sees none of the kinks.

    estimator ``paper``: ``|u · H u|`` at twenty steps, as published, which is not the spectral norm of an
    indefinite Hessian but 0.08 to 0.99 of it. Source: Rodríguez-Muñoz et al. 2024, Moosavi-Dezfooli et al. 2019.
    """

    readings = (
        Reading("curvature, median", "curvature_median", "per unit pixel; low, the gradient holds for larger steps"),
        Reading("   spectral norm of the Hessian", "hessian_norm_mean", "nats per squared unit pixel"),
        Reading("   not converged (%)", "hessian_unconverged", "near 0; of these the norm is a lower bound"),
    )
    # For tests, which cannot wait for the last digits.
    cheap: ClassVar[str] = "steps=10,tolerance=0.1"

    objective: str = "loss"
    estimator: str = "converged"
    tolerance: float = 1e-3
    steps: int = 200

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise UserError(unknown("estimator of curvature", self.estimator, ESTIMATORS))
        if not (0 < self.tolerance < 1 and self.steps > 2):
            raise UserError(
                f"curvature: tolerance={self.tolerance:g}, steps={self.steps}; wanted a tolerance in (0, 1) and at "
                "least 3 steps"
            )

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        hessian = Hessian(probe, self.objective)
        if self.estimator == "paper":
            norm, steps = published_norm(hessian), torch.full_like(hessian.scale, PAPER_STEPS)
        else:
            norm, taken, converged = hessian.spectral(self.tolerance, self.steps)
            steps = torch.where(converged, taken, self.steps + 1).double()
        known = probe.predicted & ~hessian.kinked()
        found = {"hessian_norm": norm, "curvature": norm / (slope(hessian) + 1e-6), "hessian_steps": steps}
        return {name: torch.where(known, values, torch.nan) for name, values in found.items()}

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Means and medians with 95 % intervals; the share of images whose norm is a lower bound."""
        steps = samples["hessian_steps"].to_numpy()
        known = np.isfinite(steps)
        unconverged = 100 * (steps[known] > self.steps).mean() if known.any() else np.nan
        numbers = {"hessian_unconverged": float(unconverged)}
        names = ("hessian_norm", "curvature")
        numbers |= means(samples, names) | medians(samples, names)
        return merged([explained_means(numbers, LINEAR)])


def slope(hessian: Hessian) -> Values:
    """``‖∇ objective‖₂`` of each image, float64."""
    return hessian.gradient.flatten(1).norm(dim=1).double() * hessian.scale


def published_norm(hessian: Hessian, steps: int = PAPER_STEPS, start: Images | None = None) -> Values:
    """``|u · H u|`` after that many steps of ``u ← H u / (‖H u‖ + 1e-6)`` from Gaussian noise, as published."""
    u, scale = hessian.noise() if start is None else start, hessian.scale.view(-1, 1, 1, 1)
    found = torch.zeros_like(hessian.scale)
    for _ in range(steps):
        v = hessian.product(u) * scale
        found = (u * v).flatten(1).sum(1).abs()
        u = (v / (v.flatten(1).norm(dim=1).view(-1, 1, 1, 1) + 1e-6)).to(u.dtype)
    return found
