from __future__ import annotations

import torch

from gradlens.core.registry import penalty
from gradlens.core.types import UserError
from gradlens.probes.forward import Values
from gradlens.probes.objectives.logits import loss
from gradlens.probes.probe import Probe


@penalty
def tulip(probe: Probe, h: float = 0.01) -> Values:
    """``½ ((l(x + hv) − l(x)) / h)²``, ``(B,)`` in squared nats per squared unit pixel: about half of ``‖∇_x loss‖₂²``.

    v is the gradient's direction, held fixed, so it needs no second derivative, and either engine is exact. h: the
    step in pixels (L2); at 0.01 it is within a percent of the gradient, at 1 a fifth from it. Both points are seen
    with the same units dropped. Their weight is 0.1. Source: Finlay and Oberman 2021.
    """
    if not h > 0:
        raise UserError(f"h of tulip is {h:g}; wanted a positive step in pixels (L2), such as 0.01")
    direction = probe.gradient("loss").detach()
    size = direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    there = probe.at(probe.batch.image + h * direction / torch.where(size > 0, size, 1))
    # In float64, or the difference of near losses would lose what the logits still have.
    near, far = (loss(look.logits.double(), probe.target) for look in (probe, there))
    return ((far - near) / h).square() / 2
