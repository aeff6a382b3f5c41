from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary, means
from gradlens.core.names import with_limits
from gradlens.core.registry import analyzer
from gradlens.probes.probe import Probe
from gradlens.stats.clusters import Cluster, cluster_of
from gradlens.stats.composition import centred_log_ratios, geometric_ratio, isometric_log_ratios, mean_distance, perturb
from gradlens.stats.intervals import mean_interval
from gradlens.stats.tallies import Histogram

CHANNELS = "rgb"
SHARES = [f"share_{c}" for c in CHANNELS]
AXES = [f"color_axis_{k}" for k in (1, 2, 3)]
GRAY = "gray images carry no channel claim"
FEW = "fewer than three images, or shares that do not vary between images"
NO_STD = "the model does not normalise outside its network, so its σ units are unknown"


# Steps of a channel: finer than 8 bits, yet an image's products add up in float64 without rounding.
LEVELS = 1 << 12
ONE_8_BIT_LEVEL = math.ceil(LEVELS / 255)
# Axes whose variances are closer than this, of the largest, are not told apart.
DISTINCT = 1e-6


class PilotColors:
    """The colours of a run's pilot images: whether they are gray, and their principal axes.

    Pixels are rounded to 2⁻¹² and added up as integers, so the pieces in which the images come change
    no digit.
    """

    def __init__(self) -> None:
        self._pixels, self._apart, self._channels = 0, 0, 0
        self._sum = np.zeros(3, np.int64)
        self._products = np.zeros((3, 3), np.int64)

    def add(self, image: Tensor) -> None:
        """See more images, ``(B, C, H, W)`` in [0, 1]."""
        self._channels = image.shape[1]
        if self._channels != 3:
            return
        level = (image.detach().double() * LEVELS).round().flatten(2)
        self._pixels += len(level) * level.shape[2]
        self._sum += level.sum(2).long().sum(0).cpu().numpy()
        self._products += (level @ level.mT).long().sum(0).cpu().numpy()
        self._apart = max(self._apart, int((level.amax(1) - level.amin(1)).max()))

    @property
    def gray(self) -> bool:
        """One channel, or three that are equal everywhere to an 8-bit level."""
        return self._channels == 1 or (self._channels == 3 and self._apart <= ONE_8_BIT_LEVEL)

    @property
    def why_none(self) -> str:
        """Why nothing is said of these images' channels; empty where something is."""
        if self._channels not in (0, 1, 3):
            return f"the images have {self._channels} channels, which are no red, green and blue"
        return GRAY if self.gray else ""

    def axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Eigenvectors of the pixels' colour covariance ``(3, 3)``, a row an axis, and their shares of the variance.

        Largest variance first, each pointing towards white. NaN where the colours do not tell three
        axes apart, as those of gray images, or where none were seen.
        """
        nothing = np.full((3, 3), np.nan), np.full(3, np.nan)
        if self._pixels == 0:
            return nothing
        mean = self._sum / self._pixels / LEVELS
        covariance = self._products / self._pixels / LEVELS**2 - np.outer(mean, mean)
        variance, vectors = np.linalg.eigh(covariance)
        variance, axes = variance[::-1], vectors.T[::-1]
        if not (variance[:-1] - variance[1:] > DISTINCT * variance[0]).all():
            return nothing
        return axes * np.where(axes.sum(1) < 0, -1, 1)[:, None], variance / variance.sum()


@analyzer
@dataclass
class ChannelAsymmetry(Analyzer):
    """How the gradient is shared between the colour channels and the data's colour axes.

    ``share_r share_g share_b``: each channel's part of the L1 norm, 1/3 when even, per unit pixel.
    ``luminance_coherence = ‖Σ_c g_c‖² / (3 Σ_c ‖g_c‖²)``: 1 when the channels pull together (a gray
    gradient), 1/3 when they are independent, towards 0 when they cancel (a purely chromatic one).
    ``color_axis_1..3``: parts of the squared L2 norm along the principal axes of the pilot images'
    colours, largest variance first; 1/3 each for a gradient that ignores the data's colours, and
    ``color_variance_1..3``, the data's own parts, for one that is coloured as they are. Much on the
    last axis: the gradient points where the data hardly vary.

    Shares are one composition, so one number says whether they are even: ``asymmetry_distance``, how far
    their mean is from even in standard deviations between images, on two isometric log-ratios. It has no p: a
    test over images rejects for untrained networks, whose first layer favours some channel by chance. Read it
    beside a random twin's, which ``--control random`` puts into the same table. ``g_over_r_mean``
    and ``g_over_b_mean`` are geometric means. ``…_sigma`` says the same per unit of the normalised input
    (pixel unit times the model's std): a network that treats its normalised channels alike has even shares there,
    but ones that differ by 2.2 % per pixel with ImageNet's std. ``histogram`` counts |g| of every pixel and channel
    in the program's fixed bins. Gray data carry no channel claim: all but the coherence is
    missing. Source: Rodríguez-Muñoz et al. 2024, Fig. 7; log-ratios: Aitchison 1986.
    """

    readings = (
        Reading("share R", "share_r_mean", "1/3 when even, per unit pixel"),
        Reading("share G", "share_g_mean"),
        Reading("share B", "share_b_mean"),
        Reading("G / R", "g_over_r_mean", "geometric mean; 1 when even"),
        Reading("G / B", "g_over_b_mean"),
        Reading(
            "distance from even",
            "asymmetry_distance",
            "in standard deviations between images; read it beside a random twin's",
        ),
        Reading("   per σ", "asymmetry_distance_sigma", "the same for the normalised input"),
        Reading("luminance coherence", "luminance_coherence_mean", "1 channels agree, 1/3 independent"),
        Reading("first colour axis", "color_axis_1_mean", "1/3: ignores the data's colours; more: follows them"),
    )
    primary = ("luminance_coherence",)

    objective: str = "loss"
    _colors: PilotColors = field(default_factory=PilotColors, init=False, repr=False, compare=False)
    _std: tuple[float, ...] = field(default=(), init=False, repr=False)

    def fit(self, pilot: Probe) -> None:
        """Learn the data's colour axes and the model's std."""
        self._colors.add(pilot.batch.image)
        std = getattr(pilot.model, "std", None)
        self._std = tuple(std.flatten().tolist()) if isinstance(std, Tensor) else ()

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        direction, _ = probe.scaled_gradient(self.objective)
        share = channel_shares(direction)
        flat = direction.flatten(2).double()
        products = flat @ flat.mT
        energy = products.diagonal(dim1=1, dim2=2).sum(1)
        coherence = {"luminance_coherence": products.sum((1, 2)) / (flat.shape[1] * energy)}
        if share.shape[1] not in (1, 3):
            return coherence
        columns = dict(zip(SHARES, share.unbind(1), strict=False)) | coherence
        axes = torch.from_numpy(self._colors.axes()[0]).to(products)
        along = torch.einsum("kc,bcd,kd->kb", axes, products, axes) / energy
        return columns | dict(zip(AXES, along, strict=True))

    def tallies(self) -> dict[str, Histogram]:
        return {"histogram": Histogram(len(CHANNELS))}

    def observe(self, probe: Probe) -> dict[str, tuple[NDArray, ...]]:
        direction, scale = probe.scaled_gradient(self.objective)
        exponent = direction.abs().log10_().add_(scale.log10().float().view(-1, 1, 1, 1))
        channels = exponent.transpose(0, 1).flatten(1)
        slots = torch.stack([_bin(channel) for channel in channels[: len(CHANNELS)]])
        # Gray images have one channel, which fills the first row.
        rows = torch.cat([slots, slots.new_zeros(len(CHANNELS) - len(slots), slots.shape[1])]).cpu().numpy()
        return {"histogram": (rows[:, :-2], rows[:, -2], rows[:, -1])}

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Means with 95 % intervals and the distance from even in both units; the histogram and the colour axes."""
        arrays = {f"histogram/{k}": v for k, v in tallies["histogram"].state().items()}
        arrays["histogram/edges"] = Histogram.edges()
        scalars = means(samples, ["luminance_coherence"])
        reasons = self._reasons()
        if self._colors.why_none or not set(SHARES) <= set(samples):
            return Summary(scalars, arrays, dict.fromkeys(reasons, self._colors.why_none or GRAY))
        shares = samples[SHARES].to_numpy(np.float64)
        cluster = cluster_of(samples)
        scalars |= means(samples, AXES) | _composition(shares, cluster)
        if self._normalised:
            scalars |= _composition(perturb(shares, self._std), cluster, "_sigma")
        axes, variance = self._colors.axes()
        scalars |= {f"color_variance_{k}": float(v) for k, v in enumerate(variance, 1)}
        scalars["images_with_zero_share"] = int((shares == 0).any(1).sum())
        missing = {key: why for key, why in reasons.items() if not np.isfinite(scalars.get(key, np.nan))}
        return Summary(scalars, {**arrays, "color_axes": axes}, missing)

    @property
    def _normalised(self) -> bool:
        return any(s != 1 for s in self._std)

    def _reasons(self) -> dict[str, str]:
        """Why the numbers that a reader looks for may be missing of colour images."""
        ratios = [*(f"{share}_mean" for share in SHARES), "g_over_r_mean", "g_over_b_mean"]
        return {
            **dict.fromkeys(ratios, "no image has a gradient in every channel"),
            "asymmetry_distance": FEW,
            "asymmetry_distance_sigma": FEW if self._normalised else NO_STD,
            "color_axis_1_mean": "the pilot images' colours have no three distinct axes",
        }


def channel_shares(gradient: Tensor) -> Tensor:
    """Each channel's part of the L1 norm of ``(B, C, H, W)``: ``(B, C)``, NaN where the gradient is zero."""
    l1 = gradient.abs().sum((2, 3), dtype=torch.float64)
    return l1 / l1.sum(1, keepdim=True)


def _composition(shares: NDArray, cluster: Cluster, unit: str = "") -> dict[str, float]:
    """What is said of shares ``(N, 3)`` in either unit."""
    found: dict[str, float] = {}
    for k, (share, log_ratio) in enumerate(zip(shares.T, centred_log_ratios(shares).T, strict=True)):
        found |= with_limits(f"{SHARES[k]}{unit}_mean", mean_interval(share, cluster=cluster))
        found |= with_limits(f"log_ratio_{CHANNELS[k]}{unit}_mean", mean_interval(log_ratio, cluster=cluster))
    red, green, blue = shares.T
    found |= with_limits(f"g_over_r{unit}_mean", geometric_ratio(green, red, cluster=cluster))
    found |= with_limits(f"g_over_b{unit}_mean", geometric_ratio(green, blue, cluster=cluster))
    distance = mean_distance(isometric_log_ratios(shares), cluster=cluster)
    return found | with_limits(f"asymmetry_distance{unit}", distance)


def _bin(exponent: Tensor) -> Tensor:
    """Counts of base-10 logarithms: underflow, the fixed bins, overflow, −∞ (exact zeros), not finite."""
    position = (exponent - Histogram.DECADES[0]).mul_(Histogram.PER_DECADE).add_(1)
    last = Histogram.BINS + 2
    # A vanishing multiple leaves a finite position in its slot and keeps an infinite one infinite.
    slot = position.clamp(0.5, last - 0.5).add_(position, alpha=1e-30)
    slot.nan_to_num_(nan=last + 1.5, posinf=last + 1.5, neginf=last + 0.5)
    return torch.bincount(slot.int(), minlength=last + 2)
