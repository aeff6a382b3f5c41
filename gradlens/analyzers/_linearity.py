from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary, means, medians
from gradlens.core.names import check_radius
from gradlens.core.registry import analyzer
from gradlens.probes.attacks import noise_of
from gradlens.probes.exact import in_float64
from gradlens.probes.objectives.logits import loss
from gradlens.probes.probe import Probe


@analyzer
@dataclass(frozen=True)
class Linearity(Analyzer):
    """How far the loss is from a straight line between two points near the image.

    ``linearity_error``: ``(l((1−t)a + tb) − (1−t) l(a) − t l(b))²`` in squared nats, of one draw an image of a
    and b, uniform within ``eps`` (L∞, without the limits of pixels), and t, uniform in [0, 1]. Computed in
    float64, since below 1e-12 float32 has nothing but its rounding. Low: the gradient foretells the loss
    within the ball, so attacks of a single step are as good as any; a robust network's is hundreds of times
    below a natural one's. It varies over decades: compare medians. Source: Rodríguez-Muñoz et al. 2024.
    """

    readings = (
        Reading("linearity error, mean", "linearity_error_mean", "squared nats; near 0, linear within the ball"),
        Reading("   median", "linearity_error_median", "half the images are below"),
    )

    eps: float = 4 / 255

    def __post_init__(self) -> None:
        check_radius(self.eps)

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        image, noise = probe.batch.image.double(), noise_of(probe, "linearity")
        a, b = (image + self.eps * (2 * noise(image.shape[1:], draw).to(image) - 1) for draw in (0, 1))
        t, exact = noise((), 2).to(image), in_float64(probe)
        between = t.view(-1, 1, 1, 1)
        at_a, at_b, at_t = (loss(exact(x), probe.target) for x in (a, b, (1 - between) * a + between * b))
        error = (at_t - (1 - t) * at_a - t * at_b).square()
        return {"linearity_error": torch.where(probe.predicted, error, torch.nan)}

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Mean and median with 95 % intervals."""
        return Summary(means(samples, ["linearity_error"]) | medians(samples, ["linearity_error"]))
