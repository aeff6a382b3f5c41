from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary
from gradlens.analyzers._curvature import slope
from gradlens.core.names import check_radius
from gradlens.core.registry import analyzer
from gradlens.core.types import UserError
from gradlens.probes.attacks import attack
from gradlens.probes.hessian import Hessian
from gradlens.probes.probe import Probe
from gradlens.stats.tallies import Moments

# Tallies keep sums below 2³³; squares of steep gradients are larger.
UNIT = 2.0**20
WHAT = ("loss", "l1", "curvature")
TOLERANCE = 1e-2


@analyzer
@dataclass(frozen=True)
class AttackInterpolation(Analyzer):
    """What happens on the way to an attack and as far again: loss, gradient and curvature at ``x + s (x_adv − x)``.

    x_adv is PGD's of ``steps`` steps within ``eps`` (L∞); s goes from 0 to 2 in ``points`` points, without the
    limits of pixels. Arrays over s: ``s``; the means over images of ``loss`` (nats), ``l1`` (nats per unit pixel)
    and ``curvature`` (per unit pixel, as the analyzer of that name has it after up to ``products`` products;
    missing for piecewise-linear networks), each with its standard error ``…_error``. ``interpolation_gain``: how much
    the loss rises from s = 0 to 1, in nats. A robust model's loss rises slowly and evenly; a peak of curvature
    or of the gradient close to s = 0 is what an attack makes use of, and a gradient that vanishes there masks.
    Source: Rodríguez-Muñoz et al. 2024, whose curvature is that of two products.
    """

    readings = (Reading("loss gained by the attack", "interpolation_gain", "nats, from the image to PGD's"),)
    # For tests, which cannot wait for every point.
    cheap: ClassVar[str] = "steps=2,points=3,products=3"

    eps: float = 4 / 255
    steps: int = 5
    points: int = 16
    products: int = 10

    def __post_init__(self) -> None:
        check_radius(self.eps)
        if self.steps < 1 or self.points < 3 or self.products < 1:
            raise UserError(
                f"attack_interpolation: steps={self.steps}, points={self.points}, products={self.products}; wanted at "
                "least 1 step, 3 points and 1 product"
            )

    @property
    def places(self) -> NDArray[np.float64]:
        """s, from 0 to 2."""
        return np.linspace(0, 2, self.points)

    def tallies(self) -> dict[str, Moments]:
        # Beside the means along s, the gain of each image.
        return {name: Moments(self.points) for name in WHAT} | {"gain": Moments(1)}

    def observe(self, probe: Probe) -> dict[str, tuple[NDArray, ...]]:
        image = probe.batch.image
        attacked = attack(probe, "pgd", eps=self.eps, steps=self.steps)
        way, kinked = attacked.batch.image - image, Hessian(probe).kinked()
        points = [self._at(probe.at(image + s * way), kinked) for s in self.places.tolist()]
        found = {name: torch.stack(values, 1) for name, values in zip(WHAT, zip(*points, strict=True), strict=True)}
        found["gain"] = (attacked.value("loss") - probe.value("loss"))[:, None]
        known = probe.predicted[:, None]
        return {name: (torch.where(known, v, torch.nan).cpu().numpy() / UNIT,) for name, v in found.items()}

    def _at(self, look: Probe, kinked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hessian = Hessian(look)
        l1 = hessian.gradient.flatten(1).abs().sum(1).double() * hessian.scale
        curvature = hessian.spectral(TOLERANCE, self.products).norm / (slope(hessian) + 1e-6)
        return hessian.value, l1, torch.where(kinked, torch.nan, curvature)

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Means along s with their standard errors."""
        arrays = {"s": self.places}
        for name in WHAT:
            arrays |= {name: UNIT * tallies[name].mean, f"{name}_error": UNIT * tallies[name].standard_error}
        mean, half = UNIT * tallies["gain"].mean[0], 1.96 * UNIT * tallies["gain"].standard_error[0]
        names = ("interpolation_gain", "interpolation_gain_low", "interpolation_gain_high")
        return Summary(dict(zip(names, (float(mean), float(mean - half), float(mean + half)), strict=True)), arrays)
