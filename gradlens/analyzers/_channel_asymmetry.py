from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradlens._probe import Probe
from gradlens._registry import analyzer
from gradlens._statistics.intervals import mean_interval
from gradlens._tallies import Histogram
from gradlens.analyzers._base import Analyzer, Reading, Summary

CHANNELS = "rgb"


@analyzer
@dataclass(frozen=True)
class ChannelAsymmetry(Analyzer):
    """How the gradient is shared between the colour channels.

    ``share_r share_g share_b``: each channel's part of the L1 norm, 1/3 when even, per unit pixel.
    ``luminance_coherence = ‖Σ_c g_c‖² / (3 Σ_c ‖g_c‖²)``: 1 when the channels pull together (a gray
    gradient), 1/3 when they are independent, towards 0 when they cancel (a purely chromatic one).
    ``histogram`` counts |g| of every pixel and channel in the program's fixed bins. Source:
    Rodríguez-Muñoz et al. 2024, Fig. 7. Gray data carry no channel claim.
    """

    readings = (
        Reading("share R", "share_r_mean", "1/3 when even"),
        Reading("share G", "share_g_mean"),
        Reading("share B", "share_b_mean"),
        Reading("luminance coherence", "luminance_coherence_mean", "1 channels agree, 1/3 independent"),
    )
    primary = ("luminance_coherence",)

    objective: str = "loss"

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        direction, _ = probe.scaled_gradient(self.objective)
        flat = direction.flatten(2)
        l1 = torch.linalg.vector_norm(flat, 1, dim=2, dtype=torch.float64)
        share = l1 / l1.sum(1, keepdim=True)
        energy = torch.linalg.vector_norm(flat, 2, dim=(1, 2), dtype=torch.float64) ** 2
        together = torch.linalg.vector_norm(flat.sum(1), 2, dim=1, dtype=torch.float64) ** 2
        columns = {f"share_{c}": share[:, k] for k, c in enumerate(CHANNELS[: flat.shape[1]])}
        return {**columns, "luminance_coherence": together / (flat.shape[1] * energy)}

    def tallies(self) -> dict[str, Histogram]:
        return {"histogram": Histogram(len(CHANNELS))}

    def observe(self, probe: Probe) -> dict[str, tuple[NDArray, ...]]:
        direction, scale = probe.scaled_gradient(self.objective)
        exponent = direction.abs().log10_() + scale.log10().float().view(-1, 1, 1, 1)
        per_channel = exponent.transpose(0, 1).flatten(1)
        zeros = torch.isneginf(per_channel).sum(1)
        invalid = per_channel.numel() // len(per_channel) - (per_channel < torch.inf).sum(1)
        counts = torch.stack([_bin(row) for row in per_channel])
        # Zeros fell into the underflow and what is not finite into the overflow.
        counts[:, 0] -= zeros
        counts[:, -1] -= invalid
        # Gray images have one channel, which fills the first row.
        rows = [torch.cat([t, t.new_zeros(len(CHANNELS) - len(t), *t.shape[1:])]) for t in (counts, zeros, invalid)]
        return {"histogram": tuple(t.cpu().numpy() for t in rows)}

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Mean shares and coherence with 95 % intervals; the histogram and its edges."""
        scalars: dict[str, float] = {}
        for name in filter(samples.__contains__, (*(f"share_{c}" for c in CHANNELS), "luminance_coherence")):
            mean, low, high = mean_interval(samples[name])
            scalars |= {f"{name}_mean": mean, f"{name}_low": low, f"{name}_high": high}
        arrays = {f"histogram/{k}": v for k, v in tallies["histogram"].state().items()}
        return Summary(scalars, {**arrays, "histogram/edges": Histogram.edges()})


def _bin(exponent: Tensor) -> Tensor:
    """Counts of base-10 logarithms: underflow, the fixed bins, overflow; NaN counts as overflow."""
    position = ((exponent - Histogram.DECADES[0]) * Histogram.PER_DECADE + 1).nan_to_num_(torch.inf)
    bins = Histogram.BINS + 2
    # histc counts in float32, which is exact up to 2²⁴.
    parts = position.clamp_(0.5, bins - 0.5).split(1 << 24)
    return torch.stack([torch.histc(part, bins, 0, bins).long() for part in parts]).sum(0)
