from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary, merged
from gradlens.analyzers._size_numbers import (
    UNLABELLED,
    decomposition,
    group_numbers,
    groups,
    questions,
    separation_numbers,
    tail_numbers,
)
from gradlens.core.registry import analyzer
from gradlens.probes.probe import Probe
from gradlens.stats.clusters import cluster_of
from gradlens.stats.intervals import finite

FLAGS = ("", "zero", "underflow", "not finite")
BY_LABEL = ("l1_mean_correct", "l1_mean_wrong", "l1_auc_wrong", "loss_auc_wrong", "l1_auc_gain_wrong")


@analyzer
@dataclass(frozen=True)
class SampleAsymmetry(Analyzer):
    """How large each image's gradient is, how unequally size is spread, and whether it is more than the loss.

    ``l1 l2 linf``: norms over C, H, W, in nats (or logits) per unit pixel; ``eps · l1`` is the loss
    that an L∞ attack of size eps gains to first order. ``l1_logit = l1 / (1 − p_y)`` takes out what
    the loss alone explains: large where the logits themselves are steep. ``gradient_flag``: 0 sound,
    1 exactly zero, 2 underflowed, 3 not finite.

    In the summary, each number with its limits as ``…_low`` and ``…_high``: mean, median and n of all
    images, of the correct and wrong ones, and for every column ``robust[…]`` of the run those of the
    robust and vulnerable ones, also of the correct among them (else "vulnerable" contains clean
    mistakes). ``l1_gini l1_cv l1_top_share l1_log_sd l1_q90_ratio l1_q99_ratio l1_tail_index`` tell
    the inequality; the first three grow with n under heavy tails, so models are compared at 200 images
    (``…_at_200``). ``log_l1_share_…``: parts of Var(log L1), near 1 for the error mass where size is
    mostly the loss. ``…_auc_wrong`` and ``…_auc_vulnerable[…]``: how well size tells these images;
    ``…_auc_gain_…`` and ``…_r2_gain_…`` are what it adds to the loss, 0 nothing.
    Source: Rodríguez-Muñoz et al. 2024, Fig. 6, Table 1.
    """

    readings = (
        Reading("L1 norm, mean", "l1_mean", "nats per unit pixel; ε · L1 is an attack's first-order gain"),
        Reading("   correct", "l1_mean_correct"),
        Reading("   wrong", "l1_mean_wrong"),
        Reading("   median", "l1_median", "far below the mean: few images hold most"),
        Reading("   Gini", "l1_gini", "0 all images equal, 1 one holds everything; grows with their number"),
        Reading("      of 200 images", "l1_gini_at_200", "the same for data sets of any size"),
        Reading("   tail index", "l1_tail_index", "2 and less: single images rule the mean; above 4 a light tail"),
        Reading("   share of error mass", "log_l1_share_error_mass", "in Var(log L1); 1: size is the loss alone"),
        Reading("AUC of wrong, L1", "l1_auc_wrong", "0.5 says nothing, 1 separates"),
        Reading("   the loss's own", "loss_auc_wrong", "what L1 must be compared with"),
        Reading("   L1 beyond the loss", "l1_auc_gain_wrong", "difference of the two; 0 it adds nothing"),
        Reading("   L1 per error mass", "l1_logit_auc_wrong", "with the loss divided out"),
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
        for name in self._per_error_mass:
            norms[name] = norms["l1"] / probe.error_mass
        return {**norms, "gradient_flag": _flag(norms["linf"], scale)}

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Sizes by group, their inequality and composition, and what they tell beyond the loss."""
        l1, cluster = samples["l1"].to_numpy(), cluster_of(samples)
        scores = {name: samples[name].to_numpy() for name in ("l1", *self._per_error_mass, "loss")}
        flags = samples["gradient_flag"].to_numpy()
        counts: dict[str, float] = {
            f"gradients_{FLAGS[k].replace(' ', '_')}": int((flags == k).sum()) for k in (1, 2, 3)
        }
        return merged(
            [
                *(group_numbers(l1, group, cluster) for group in groups(samples)),
                tail_numbers(*finite(l1, cluster)),
                *(decomposition(l1, scores[name]) for name in self._per_error_mass),
                *(separation_numbers(scores, question, cluster) for question in questions(samples)),
                Summary(counts, missing={} if "correct" in samples else dict.fromkeys(BY_LABEL, UNLABELLED)),
            ]
        )

    @property
    def _per_error_mass(self) -> tuple[str, ...]:
        """Only the loss has an error mass to take out."""
        return ("l1_logit",) if self.objective == "loss" else ()


def _flag(linf: Tensor, scale: Tensor) -> Tensor:
    flag = torch.zeros_like(linf)
    flag[linf == 0] = 1
    flag[scale == 0] = 2
    flag[~torch.isfinite(linf)] = 3
    return flag
