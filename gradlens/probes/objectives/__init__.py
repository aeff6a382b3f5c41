"""Objectives: what a gradient is the gradient of. One number an image, from its logits.

An objective is a differentiable function ``(logits (B, K), target (B,)) -> (B,)``; one that is random
names a third parameter, ``draw``, and is given a uniform number ``(B,)`` that belongs to the image. The
probe evaluates it in float64 and takes its derivative with respect to the logits there, so it must be
written without cancellation.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import Tensor

from gradlens.core.registry import objective
from gradlens.core.types import UserError


def evaluate(spec: str, logits: Tensor, target: Tensor, draw: Callable[[], Tensor]) -> Tensor:
    """A registered objective of each image, ``(B,)``; ``draw`` is called where the objective is random."""
    method = objective.build(spec)
    drawn = (draw(),) if "draw" in inspect.signature(method).parameters else ()
    value = method(logits, target, *drawn)
    if not isinstance(value, Tensor) or value.shape != target.shape[:1]:
        found = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise UserError(f"objective '{spec}' returned {found}; wanted one number an image, {tuple(target.shape[:1])}")
    return value
