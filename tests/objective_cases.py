"""Logits of six images and five classes, and what objectives make of them."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlens.core.registry import objective
from gradlens.probes.objectives import evaluate

OBJECTIVES = list(objective)
LOGITS = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
TARGET = torch.tensor([0, 4, 2, 2, 1, 3])
DRAW = torch.tensor([0.1, 0.9, 0.5, 0.3, 0.7, 0.01], dtype=torch.float64)


def value(name: str, logits: Tensor = LOGITS, target: Tensor = TARGET, draw: Tensor | None = DRAW) -> Tensor:
    return evaluate(name, logits, target, lambda: draw)


def cotangent(name: str, logits: Tensor, target: Tensor, draw: Tensor | None = None) -> Tensor:
    """The derivative of the objective by the logits."""
    logits = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(value(name, logits, target, draw).sum(), logits)
    return found
