"""Objectives of the class probabilities, in nats."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gradlens.core.registry import objective
from gradlens.probes.objectives.logits import at

Logits = Float[Tensor, "b k"]
Target = Int[Tensor, "b"] | Float[Tensor, "b k"]
Values = Float[Tensor, "b"]


@objective
def loss(logits: Logits, target: Target) -> Values:
    """Cross-entropy ``−log p_y`` of each image, in nats; soft targets ``(B, K)`` are averaged over.

    Written as softplus of ``log Σ_{k≠y} e^{f_k} − f_y``, whose derivative is the exact residual
    ``p_k``, ``−Σ_{k≠y} p_k`` also where p_y rounds to one.
    """
    if target.ndim == 2:
        return -(target * F.log_softmax(logits, 1)).sum(1)
    others = logits.scatter(1, target[:, None], -torch.inf)
    return -F.logsigmoid(at(logits, target) - others.logsumexp(1))


@objective
def log_prob(logits: Logits, target: Target) -> Values:
    """``log p_y``, in nats: the loss with its sign turned (Ganz et al. 2023, released code)."""
    return -loss(logits, target)


@objective
def logsumexp(logits: Logits, target: Target) -> Values:
    """``log Σ_k e^{f_k}``: the model's log marginal density up to a constant (Yang et al. 2024)."""
    return logits.logsumexp(1)


def error_mass(logits: Logits, target: Target) -> Values:
    """``1 − p_y`` without cancellation: near 0 confident and right, near 1 confident and wrong."""
    return -torch.expm1(-loss(logits, target))
