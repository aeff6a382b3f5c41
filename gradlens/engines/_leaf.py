from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from gradlens._probe import Probe
from gradlens._types import Batch


class Pull(NamedTuple):
    """One objective's gradient at the base point, and what a step along its direction needs.

    gradient ``(B, C, H, W)``: the leaf that the penalty was given. slopes: ``∂ Σ_b objective_b / ∂ θ`` of
    each parameter. cotangent: the objective's derivative by the logits.
    """

    gradient: Tensor
    slopes: tuple[Tensor, ...]
    cotangent: Cotangent


class Cotangent:
    """``∂ Σ_b value_b / ∂ logits`` at the base point, float64, and continued from there to others.

    The continuation is linear in the logits, so a class that was drawn, or was the largest, stays the
    one at the base point. What it leaves out is quadratic in the step, as the finite difference does.
    """

    def __init__(self, value: Callable[[Tensor], Tensor], logits: Tensor):
        with torch.enable_grad():
            self._logits = logits.detach().double().requires_grad_()
            (self._at_base,) = torch.autograd.grad(value(self._logits).sum(), self._logits, create_graph=True)

    @property
    def at_base(self) -> Tensor:
        return self._at_base.detach()

    def at(self, logits: Tensor) -> Tensor:
        moved = logits.detach().double() - self._logits.detach()
        if not self._at_base.requires_grad:
            return self.at_base
        product = (self._at_base * moved).sum()
        (turned,) = torch.autograd.grad(product, self._logits, retain_graph=True, materialize_grads=True)
        return self.at_base + turned


class Leaf(Probe):
    """A probe in mode ``leaf`` that takes each gradient by the image and by the parameters in one pass."""

    def __init__(self, model: nn.Module, batch: Batch, parameters: list[nn.Parameter], seed: int, needs: tuple = ()):
        super().__init__(model, batch, "leaf", seed, needs)
        self.parameters, self.pulls = parameters, dict[str, Pull]()

    def cotangent(self, of: str) -> Cotangent:
        return Cotangent(partial(self._value, of), self.logits)

    def _differentiated(self, of: str) -> Tensor:
        cotangent = self.cotangent(of)
        gradient, *slopes = torch.autograd.grad(
            self.logits,
            (self.image, *self.parameters),
            cotangent.at_base.to(self.logits.dtype),
            retain_graph=True,
            materialize_grads=True,
        )
        leaf = gradient.detach().requires_grad_()
        self.pulls[of] = Pull(leaf, tuple(slopes), cotangent)
        return leaf
