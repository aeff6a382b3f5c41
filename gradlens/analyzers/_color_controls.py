from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary, means
from gradlens.analyzers._channel_asymmetry import CHANNELS, PilotColors, channel_shares
from gradlens.core.registry import analyzer
from gradlens.probes.edges.filters import luminance
from gradlens.probes.probe import Images, Probe

CONTROLS = ("swapped", "gray", "rotated")
COLUMNS = (
    *(f"share_{c}[{control}]" for control in CONTROLS for c in CHANNELS),
    "clipped[rotated]",
    *(f"log_r_over_b_{part}" for part in ("model", "image")),
)
# What float32 adds beyond [0, 1] is not clipping.
ROUNDING = 1e-6


@analyzer
@dataclass
class ColorControls(Analyzer):
    """Whether an uneven share of the channels is the image's or the model's: the shares at recoloured images.

    ``share_r share_g share_b`` of the L1 norm at three controls of the same image and label:
    ``[swapped]``, R and B exchanged; ``[gray]``, the luminance in every channel; ``[rotated]``, colours
    turned by ``hue`` degrees about the gray axis and clipped to [0, 1], ``clipped[rotated]`` being the
    part of the values that was. At 120° red becomes green, green blue and blue red, and nothing leaves
    the range. Shares that move with the image's channels come from the image; shares that stay are
    the model's, and at gray images all are.

    ``log_r_over_b_model`` and ``log_r_over_b_image`` split ln(share R / share B) into the half sum of
    itself and its value at the swapped image, and the half difference; the first is 0 where the shares
    follow the swap, the second where they stay. Their means are given as ratios, 1 for no asymmetry.
    Costs three more passes. Gray data carry no channel claim.
    """

    readings = (
        Reading("R / B of the model", "r_over_b_model_mean", "what stays when R and B are swapped; 1 when even"),
        Reading("R / B of the image", "r_over_b_image_mean", "what follows the swap; 1 when even"),
        *(Reading(f"share {c.upper()}, gray", f"share_{c}_mean[gray]", "at gray images") for c in CHANNELS),
    )

    hue: float = 120.0
    objective: str = "loss"
    _colors: PilotColors = field(default_factory=PilotColors, init=False, repr=False, compare=False)

    def fit(self, pilot: Probe) -> None:
        """Learn whether the data are gray."""
        self._colors.add(pilot.batch.image)

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        image = probe.batch.image.detach()
        if image.shape[1] != len(CHANNELS):
            return dict.fromkeys(COLUMNS, torch.full((len(image),), torch.nan, dtype=torch.float64))
        turned = turned_hue(image, self.hue)
        controls = (image.flip(1), luminance(image).expand_as(image), turned)
        shares = [self._shares(probe.at(control.clamp(0, 1))) for control in controls]
        outside = (turned < -ROUNDING) | (turned > 1 + ROUNDING)
        own, swapped = _log_r_over_b(self._shares(probe)), _log_r_over_b(shares[0])
        values = [*torch.cat(shares, 1).T, outside.double().mean((1, 2, 3)), (own + swapped) / 2, (own - swapped) / 2]
        return dict(zip(COLUMNS, values, strict=True))

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Mean shares at each control, and the two parts of R / B, with 95 % intervals."""
        if why := self._colors.why_none:
            return Summary(missing={reading.key: why for reading in self.readings})
        found = means(samples, COLUMNS)
        return Summary({k.removeprefix("log_"): math.exp(v) if k.startswith("log_") else v for k, v in found.items()})

    def _shares(self, probe: Probe) -> Tensor:
        return channel_shares(probe.scaled_gradient(self.objective).direction)


def turned_hue(image: Images, degrees: float) -> Images:
    """Colours turned about the gray axis, so that luminance in equal weights stays; not clipped."""
    angle, third = math.radians(degrees), 1 / 3
    own = third + 2 / 3 * math.cos(angle)
    before, after = (third - math.cos(angle) / 3 + sign * math.sin(angle) / math.sqrt(3) for sign in (1, -1))
    # Every channel takes the same parts of itself, of the channel before it and of the one after it.
    return own * image + before * image.roll(1, 1) + after * image.roll(-1, 1)


def _log_r_over_b(shares: Tensor) -> Tensor:
    """NaN where a share is zero."""
    ratio = shares[:, 0] / shares[:, -1]
    return ratio.log().where((ratio > 0) & ratio.isfinite(), torch.nan)
