from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary, explained_means
from gradlens.analyzers._size_numbers import UNLABELLED
from gradlens.core.names import with_limits
from gradlens.core.registry import analyzer
from gradlens.core.registry import corruption as corruptions_by_name
from gradlens.core.types import UserError
from gradlens.probes.corruptions import SEVERITIES, corrupt
from gradlens.probes.probe import Probe
from gradlens.stats.clusters import cluster_of
from gradlens.stats.intervals import mean_interval

COMMON = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)


@analyzer
@dataclass(frozen=True)
class CorruptionRobustness(Analyzer):
    """Which images keep their label when they are corrupted as pictures are on their way: average-case robustness.

    ``correct[fog,3]``: 1 where the model gives the image, corrupted at that severity, its label, else 0. Images
    are corrupted as the model sees them, after resizing and cropping; the random numbers belong to the
    run's seed and the image. corruptions: names joined by ``+``, by default the fifteen common ones;
    severities: of 1 to 5.

    ``corruption_error``, in percent, is the mean over corruptions of the error's mean over severities: the
    unnormalised mean corruption error; ``corruption_error_less_clean`` is that minus the error of the images
    as they are, the part that corruption adds. Low is robust. The array ``accuracy`` (corruptions,
    severities) holds every cell in percent. It costs a forward pass and a corruption a cell, 75 an image.
    Source: Hendrycks & Dietterich 2019.
    """

    cheap: ClassVar[str] = "corruptions=contrast+gaussian_noise,severities=1+5"

    corruptions: str = "common"
    severities: str = "1+2+3+4+5"

    def __post_init__(self) -> None:
        for name in self._names:
            corruptions_by_name[name]
        wrong = [text for text in self.severities.split("+") if text not in map(str, SEVERITIES)]
        if wrong:
            raise UserError(
                f"corruption_robustness: severity '{wrong[0]}' is none; give 1 to 5, as in severities=1+3+5"
            )

    @property
    def suffix(self) -> str:
        """Nothing, since the columns' names say all."""
        return ""

    @property
    def readings(self) -> tuple[Reading, ...]:  # type: ignore[override]
        """The mean corruption error, whole and beyond the clean error."""
        chosen = self._chosen
        return (
            Reading("mean corruption error (%)", f"corruption_error{chosen}", "0 robust; of corrupted images"),
            Reading("   beyond clean error", f"corruption_error_less_clean{chosen}", "what corruption adds"),
        )

    @property
    def _names(self) -> tuple[str, ...]:
        return COMMON if self.corruptions == "common" else tuple(self.corruptions.split("+"))

    @property
    def _levels(self) -> list[int]:
        return [int(text) for text in self.severities.split("+")]

    @property
    def _chosen(self) -> str:
        """What stands behind the means of another choice than the usual one: ``[fog+snow,3]``."""
        usual = (self.corruptions, self.severities) == ("common", "1+2+3+4+5")
        return "" if usual else f"[{self.corruptions},{self.severities}]"

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        cells = [(name, level) for name in self._names for level in self._levels]
        return {column(*cell): self._correct(probe, *cell) for cell in cells}

    def _correct(self, probe: Probe, name: str, severity: int) -> Tensor:
        batch = probe.batch
        if batch.target is None:
            return torch.full((len(batch),), torch.nan, dtype=torch.float64)
        changed = corrupt(batch.image, name, severity, probe.seed, batch.index.tolist())
        look = probe.at(changed)
        # As a leaf that wants no gradient, so that the forward pass keeps nothing for one.
        look.image = changed
        return torch.where(look.predicted & probe.predicted & probe.known, look.correct.double(), torch.nan)

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """The mean errors with 95 % intervals over images, and the accuracy of every cell."""
        cells = samples[[column(name, level) for name in self._names for level in self._levels]]
        # Of an image the mean over cells, since every corruption has the same severities.
        error = 100 * (1 - cells.mean(axis=1, skipna=False))
        clean = samples["correct"].astype(float) if "correct" in samples else np.nan
        added = error - 100 * (1 - clean)
        accuracy = 100 * cells.mean().to_numpy().reshape(len(self._names), -1)
        cluster = cluster_of(samples)
        numbers = with_limits(f"corruption_error{self._chosen}", mean_interval(error, cluster=cluster))
        numbers |= with_limits(f"corruption_error_less_clean{self._chosen}", mean_interval(added, cluster=cluster))
        arrays = {"accuracy": accuracy, "corruptions": np.array(self._names), "severities": np.array(self._levels)}
        return Summary(numbers, arrays, explained_means(numbers, UNLABELLED).missing)


def column(corruption: str, severity: int) -> str:
    """What the images that keep their label under one corruption are called."""
    return f"correct[{corruption},{severity}]"
