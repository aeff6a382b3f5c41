from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from gradlens._probe import Probe
from gradlens._registry import analyzer
from gradlens._statistics.intervals import mean_interval
from gradlens.analyzers._base import Analyzer, Reading, Summary

MEASURES = ("edge_corr_contour", "edge_auc_canny", "edge_mass_canny")
RANK_BINS = 4096
MIN_NULL_MAPS = 8

Pixels = Float[Tensor, "b p"]
Bank = Float[Tensor, "m p"]


@analyzer
@dataclass
class EdgeConcentration(Analyzer):
    """Whether the gradient sits on the image's edges, each measure beside what chance would give.

    ``edge_corr_contour``: the paper's Pearson of log contour energy and log Σ_c|g_c| over pixels.
    ``edge_auc_canny``: probability that an edge pixel's |g| exceeds another's; 0.5 says nothing.
    ``edge_mass_canny = (m − a) / (1 − a)``: share m of |g| on edge pixels of area a; 0 no more than
    their area, 1 all of it. ``…_null`` is the mean of the same number over the edge maps of up to 64
    fixed images of other classes, ``…_z`` its distance from them in their standard deviations: a
    gradient that merely sits in the middle, or is rough, scores as high on others' edges.

    sigma: Canny's blur in pixels. Images with fewer than ``min_edge_pixels`` edge pixels are missing.
    Source: Rodríguez-Muñoz et al. 2024, edge correlation; the null is ours.
    """

    readings = (
        Reading("edge correlation", "edge_corr_contour_mean", "of log |g| with log contour energy"),
        Reading("   beyond null", "edge_corr_contour_excess", "0: as on other images' edges"),
        Reading("edge AUC", "edge_auc_canny_mean", "0.5 says nothing"),
        Reading("   beyond null", "edge_auc_canny_excess"),
        Reading("edge mass", "edge_mass_canny_mean", "0 no more than the edges' area, 1 all"),
        Reading("   beyond null", "edge_mass_canny_excess"),
    )

    objective: str = "loss"
    sigma: float = 1.0
    min_edge_pixels: int = 50
    _bank: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    def fit(self, pilot: Probe) -> None:
        """Add the pilot's edge maps to the null bank."""
        contour, canny = self._maps(pilot)
        seen = {
            "log_contour": _standardize(_log_contour(contour)),
            "contour": contour,
            "canny": canny,
            "label": pilot.target,
            "index": pilot.batch.index,
        }
        self._bank = {k: torch.cat([self._bank[k], v]) if k in self._bank else v for k, v in seen.items()}

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        direction, _ = probe.scaled_gradient(self.objective)
        magnitude = direction.abs().sum(1).flatten(1)
        contour, canny = self._maps(probe)
        log_g = _log_gradient(magnitude)
        others = self._others(probe)
        own = _measures(magnitude, log_g, _standardize(_log_contour(contour))[:, None], canny[:, None])
        null = _measures(magnitude, log_g, self._bank["log_contour"], self._bank["canny"])
        few = {"edge_corr_contour": 0.0}
        columns: dict[str, Tensor] = {}
        for name in MEASURES:
            needed = few.get(name, self.min_edge_pixels)
            usable = others & (self._bank["canny"].sum(1) >= needed) & null[name].isfinite()
            value = torch.where(canny.sum(1) >= needed, own[name][:, 0], torch.nan)
            mean, deviation = _masked_moments(null[name], usable)
            columns |= {name: value, f"{name}_null": mean, f"{name}_z": (value - mean) / deviation}
        return {**columns, "edge_density_canny": canny.mean(1)}

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Means with 95 % intervals, their nulls and the excess; the null bank and its images."""
        scalars: dict[str, float] = {}
        for name in MEASURES:
            mean, low, high = mean_interval(samples[name])
            excess, *_ = mean_interval(samples[name] - samples[f"{name}_null"])
            null, *_ = mean_interval(samples[f"{name}_null"])
            scalars |= {f"{name}_mean": mean, f"{name}_low": low, f"{name}_high": high}
            scalars |= {f"{name}_null_mean": null, f"{name}_excess": excess}
        scalars["images_without_edges"] = int(samples["edge_auc_canny"].isna().sum())
        bank = {
            "null/canny": np.packbits(self._bank["canny"].bool().cpu().numpy(), axis=1),
            "null/contour": self._bank["contour"].half().cpu().numpy(),
            "null/index": self._bank["index"].cpu().numpy(),
        }
        return Summary(scalars, bank)

    def _maps(self, probe: Probe) -> tuple[Pixels, Pixels]:
        contour, canny = probe.edges("contour_energy"), probe.edges("canny", sigma=self.sigma)
        return contour.flatten(1), canny.flatten(1)

    def _others(self, probe: Probe) -> Tensor:
        """Which maps of the bank belong to another class than each image, ``(B, M)``."""
        device = probe.target.device
        same_image = probe.batch.index.to(device)[:, None] == self._bank["index"].to(device)
        return (probe.target[:, None] != self._bank["label"]) & ~same_image


def _measures(g: Pixels, log_g: Pixels, log_contour: Tensor, canny: Tensor) -> dict[str, Tensor]:
    """Each measure of every gradient against every map, ``(B, M)``; maps ``(M, P)`` or ``(B, 1, P)``."""
    against = _against_bank if canny.ndim == 2 else _against_own
    pixels, edge_pixels = g.shape[1], canny.sum(-1)
    rank_sum = against(_mid_ranks(g), canny)
    area, mass = edge_pixels / pixels, against(g, canny) / g.sum(1, keepdim=True)
    return {
        "edge_corr_contour": (against(log_g, log_contour) / pixels).double(),
        "edge_auc_canny": (rank_sum / edge_pixels - (edge_pixels + 1) / (2 * pixels)).double() / (1 - area),
        "edge_mass_canny": ((mass - area) / (1 - area)).double(),
    }


def _against_bank(image: Pixels, maps: Bank) -> Tensor:
    return image @ maps.T


def _against_own(image: Pixels, maps: Tensor) -> Tensor:
    return (image[:, None] * maps).sum(-1)


def _log_contour(contour: Pixels) -> Pixels:
    """The paper's log energy, floored at 1e-3."""
    return contour.clamp(min=1e-3).log()


def _log_gradient(magnitude: Pixels) -> Pixels:
    """Standardised log |g|, floored at 1e-4 of the image's mean so that single zeros cannot rule."""
    floor = 1e-4 * magnitude.mean(1, keepdim=True)
    return _standardize(magnitude.maximum(floor).log())


def _standardize(values: Pixels) -> Pixels:
    """Mean 0 and variance 1 over pixels; missing where all values are equal."""
    centred = values - values.mean(1, keepdim=True)
    varies = values.amax(1, keepdim=True) > values.amin(1, keepdim=True)
    return (centred / centred.square().mean(1, keepdim=True).sqrt()).where(varies, torch.nan)


def _mid_ranks(magnitude: Pixels) -> Pixels:
    """Mid-ranks of every pixel in its image, over P, ``(0, 1]``, from 4,096 logarithmic bins.

    Bins span eight decades below the largest value and are 0.45 % of |g| wide; values in one bin tie.
    Missing where the magnitude is zero everywhere or not finite somewhere.
    """
    top = magnitude.amax(1, keepdim=True)
    depth = (magnitude / top).clamp(min=1e-8).log10()
    index = ((depth / 8 + 1) * (RANK_BINS - 1)).nan_to_num(0).long()
    counts = torch.zeros(len(magnitude), RANK_BINS, device=magnitude.device)
    counts.scatter_add_(1, index, torch.ones_like(magnitude))
    middle = counts.cumsum(1) - (counts - 1) / 2
    return (middle.gather(1, index) / magnitude.shape[1]).where((top > 0) & top.isfinite(), torch.nan)


def _masked_moments(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the masked columns; missing where there are too few."""
    n = mask.sum(1)
    mean = values.where(mask, 0).sum(1) / n
    variance = (values - mean[:, None]).square().where(mask, 0).sum(1) / (n - 1)
    enough = n >= MIN_NULL_MAPS
    return mean.where(enough, torch.nan), variance.sqrt().where(enough, torch.nan)
