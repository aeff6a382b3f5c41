from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary, explained, merged
from gradlens.core.names import with_limits
from gradlens.core.registry import analyzer
from gradlens.core.seeds import image_uniform
from gradlens.core.types import UserError
from gradlens.probes.attacks import attack
from gradlens.probes.probe import Probe
from gradlens.stats.clusters import cluster_of
from gradlens.stats.intervals import mean_interval, quantile_interval, share_interval

# A sign above its limit tells masked gradients: points of accuracy, percent of zeros, 1 − cosine. Scored on
# twenty masked and twenty honest networks in analyses/masking.py, half of which were not looked at before.
LIMITS = {
    "accuracy_large": 5.0,
    "black_box_gain": 5.0,
    "more_steps_gain": 5.0,
    "zero_gradients": 50.0,
    "finite_gap": 0.2,
}
NO_CORRECT = "no image is correct unattacked"


@analyzer
@dataclass(frozen=True)
class Masking(Analyzer):
    """Whether the network's robustness may be its gradients' fault: five checks by which masking is known.

    Masked gradients make an attack fail where a stronger one, made for the network, gains more than five points. Of
    the images that are correct unattacked, in percent: ``accuracy_large`` withstand PGD at half of the pixels' range,
    where any image can be gray; ``black_box_gain`` withstand PGD and break by Square, which sees values alone;
    ``more_steps_gain`` withstand PGD and break by ten times the steps. ``zero_gradients``: of the gradient's
    values, those exactly zero. ``finite_gap``: the median of 1 − cosine between the margin's differences across
    ±eps/2 along random directions and what its gradient says they are; 0 agrees, 1 knows nothing, 2 is reversed.

    ``masked`` is 1 where one of them exceeds its limit (5, 5, 5, 50 and 0.2); then no accuracy under a gradient
    attack is to be believed. 0 is no proof. Of twenty masked networks it found each, and of twenty honest ones
    it accused none.
    eps is in pixels of [0, 1], L∞. Sources: Athalye et al. 2018, Carlini et al. 2019.
    """

    readings = (
        Reading("masked gradients", "masked", "1: do not believe a gradient attack; 0: no sign of it"),
        Reading("   accuracy at large ε (%)", "accuracy_large", "0; above 5 is masked"),
        Reading("   black box gains (points)", "black_box_gain", "beyond PGD; above 5 is masked"),
        Reading("   more steps gain (points)", "more_steps_gain", "above 1 take more steps; above 5 is masked"),
        Reading("   zeros in gradients (%)", "zero_gradients", "above 50 is masked"),
        Reading("   differences off gradients", "finite_gap", "0 agree, 1 have nothing in common; above 0.2 is masked"),
    )
    # For tests, which cannot wait for the real ones.
    cheap: ClassVar[str] = "steps=2,queries=5,directions=2"

    eps: float = 8 / 255
    steps: int = 10
    queries: int = 500
    directions: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.eps < 0.5:
            raise UserError(
                f"masking: eps is {self.eps:g}; wanted a radius in pixels of [0, 1] below 0.5, such as 8/255"
            )
        if min(self.steps, self.queries, self.directions) < 1:
            raise UserError("masking: steps, queries and directions count from 1")

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """What each image withstands, the zeros in its gradient, and its gap to finite differences."""

        def withstands(name: str, **how: Any) -> Tensor:
            return (probe.correct & attack(probe, name, "-margin", **how).correct).double()

        white = withstands("pgd", eps=self.eps, steps=self.steps)
        found = {
            "clean": probe.correct.double(),
            "white_box": white,
            "black_box": white * withstands("square", eps=self.eps, queries=self.queries),
            "more_steps": white * withstands("pgd", eps=self.eps, steps=10 * self.steps),
            "large": withstands("pgd", eps=0.5, steps=self.steps),
            "zeros": (probe.at(probe.batch.image).scaled_gradient("margin").direction == 0).double().mean((1, 2, 3)),
            "gap": self._gap(probe),
        }
        return {f"masking_{n}": torch.where(probe.predicted, v, torch.nan) for n, v in found.items()}

    def _gap(self, probe: Probe) -> Tensor:
        """1 − cosine over directions between the margin's central differences and its gradient's products."""
        image, products, differences = probe.batch.image, [], []
        gradient = probe.at(image).scaled_gradient("margin").direction.double()
        for k in range(self.directions):
            uniform = image_uniform(probe.seed, probe.batch.index, f"masking/{k}", tuple(image.shape[1:]))
            # Where a pixel has no room on a side, the step is the shorter on both.
            room = torch.minimum(image, 1 - image).clamp(max=self.eps / 2)
            step = room * (2 * (uniform.to(image) < 0.5) - 1)
            ends = [probe.at(image + sign * step).margin for sign in (1, -1)]
            differences.append((ends[0] - ends[1]) / 2)
            products.append((gradient * step).sum((1, 2, 3)))
        return 1 - torch.cosine_similarity(torch.stack(differences, 1), torch.stack(products, 1), dim=1, eps=1e-300)

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Each sign with its 95 % interval, over the images that are correct unattacked, and the verdict."""
        own = samples[samples["masking_clean"] == 1]
        cluster = cluster_of(own)
        white, count = own["masking_white_box"], len(own)
        broke = {
            "accuracy_large": own["masking_large"],
            "black_box_gain": white - own["masking_black_box"],
            "more_steps_gain": white - own["masking_more_steps"],
        }
        signs = {name: tuple(100 * v for v in share_interval(int(flags.sum()), count)) for name, flags in broke.items()}
        signs["zero_gradients"] = tuple(100 * v for v in mean_interval(own["masking_zeros"], cluster=cluster))
        signs["finite_gap"] = quantile_interval(own["masking_gap"], cluster=cluster)
        found = merged(explained(with_limits(name, interval), NO_CORRECT) for name, interval in signs.items())
        verdict = float(any(signs[name][0] > limit for name, limit in LIMITS.items())) if count else torch.nan
        return merged([explained({"masked": verdict}, NO_CORRECT), found])
