from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from gradlens._probe import Probe
from gradlens._registry import analyzer
from gradlens._statistics.intervals import mean_interval
from gradlens._statistics.separation import auc
from gradlens._statistics.tails import gini
from gradlens.analyzers._base import Analyzer, Reading, Summary

FLAGS = ("", "zero", "underflow", "not finite")


@analyzer
@dataclass(frozen=True)
class SampleAsymmetry(Analyzer):
    """How large each image's gradient is, and how unequally size is spread over images.

    ``l1 l2 linf``: norms over C, H, W, in nats (or logits) per unit pixel; ``eps · l1`` is the loss
    that an L∞ attack of size eps gains to first order. ``l1_logit = l1 / (1 − p_y)`` takes out what
    the loss alone explains: large where the logits themselves are steep. ``gradient_flag``: 0 sound,
    1 exactly zero, 2 underflowed, 3 not finite. Source: Rodríguez-Muñoz et al. 2024, Fig. 6, Table 1.
    """

    readings = (
        Reading("L1 norm, mean", "l1_mean", "nats per unit pixel; ε · L1 is an attack's first-order gain"),
        Reading("   correct", "l1_mean_correct"),
        Reading("   wrong", "l1_mean_wrong"),
        Reading("   median", "l1_median", "far below the mean: few images hold most"),
        Reading("   Gini", "l1_gini", "0 all images equal, 1 one holds everything"),
        Reading("AUC of wrong, L1", "l1_auc_wrong", "0.5 says nothing, 1 separates"),
        Reading("   the loss's own", "loss_auc_wrong", "what L1 must be compared with"),
    )
    primary = ("l1",)

    objective: str = "loss"

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        direction, scale = probe.scaled_gradient(self.objective)
        flat = direction.flatten(1)
        norms = {
            name: torch.linalg.vector_norm(flat, order, dim=1, dtype=torch.float64) * scale
            for name, order in (("l1", 1), ("l2", 2), ("linf", torch.inf))
        }
        if self.objective == "loss":
            norms["l1_logit"] = norms["l1"] / probe.error_mass
        return {**norms, "gradient_flag": _flag(norms["linf"], scale)}

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Means with 95 % intervals, also by correctness; Gini; AUC of "wrong" beside the loss's own."""
        l1 = samples["l1"].to_numpy()
        sound = np.isfinite(l1)
        scalars = {"l1_median": float(np.median(l1[sound])) if sound.any() else float("nan")}
        correct = samples["correct"].to_numpy() if "correct" in samples else None
        groups = {"l1_mean": sound}
        if correct is not None:
            groups |= {"l1_mean_correct": sound & correct, "l1_mean_wrong": sound & ~correct}
        for name, rows in groups.items():
            mean, low, high = mean_interval(l1[rows])
            scalars |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        scalars["l1_gini"] = gini(l1[sound])
        if correct is not None:
            scalars["l1_auc_wrong"] = auc(l1, ~correct)
            scalars["loss_auc_wrong"] = auc(samples["loss"], ~correct)
        flags = samples["gradient_flag"].to_numpy()
        scalars |= {f"gradients_{FLAGS[k].replace(' ', '_')}": int((flags == k).sum()) for k in (1, 2, 3)}
        return Summary(scalars)


def _flag(linf: Tensor, scale: Tensor) -> Tensor:
    flag = torch.zeros_like(linf)
    flag[linf == 0] = 1
    flag[scale == 0] = 2
    flag[~torch.isfinite(linf)] = 3
    return flag
