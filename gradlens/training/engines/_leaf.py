from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from gradlens.core.types import Batch
from gradlens.probes.probe import Probe
from gradlens.training.engines._repeat import RepeatablePass

Slopes = tuple[Tensor, ...]
# What fills a probe's logits, without keeping them.
_run = cast(Any, Probe.logits).func


class Pull(NamedTuple):
    """One objective's gradient at the base point, and what a step along its direction needs.

    gradient ``(B, C, H, W)``: the leaf that the penalty was given. slopes: ``∂ Σ_b objective_b / ∂ θ`` of
    each parameter. cotangent: the objective's derivative by the logits.
    """

    gradient: Tensor
    slopes: Slopes
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
        if not self._at_base.requires_grad:
            return self.at_base
        moved = logits.detach().double() - self._logits.detach()
        product = (self._at_base * moved).sum()
        (turned,) = torch.autograd.grad(product, self._logits, retain_graph=True, materialize_grads=True)
        return self.at_base + turned


class Leaf(Probe):
    """A probe in mode ``leaf`` that takes each gradient by the image and by the parameters in one pass.

    Its logits are a leaf too: what a penalty depends on besides gradients arrives there. So the first
    gradient frees the network's graph, and only a second one needs a forward pass of its own. Units keep
    the graph, since they belong to it.
    """

    def __init__(self, model: nn.Module, batch: Batch, parameters: list[nn.Parameter], seed: int, needs: tuple = ()):
        super().__init__(model, batch, "leaf", seed, needs)
        self.parameters, self.forward = parameters, RepeatablePass(model)
        self.pulls: dict[str, Pull] = {}

    @cached_property
    def logits(self) -> Tensor:
        return self._output.detach().requires_grad_()

    @cached_property
    def _output(self) -> Tensor:
        with self.forward.first():
            return _run(self)

    def _differentiated(self, of: str) -> Tensor:
        cotangent, keep = Cotangent(partial(self._value, of), self.logits), bool(self.needs)
        output = self._output if keep or not self.pulls else self._output_again()
        vector = cotangent.at_base.to(output.dtype)
        gradient, *slopes = torch.autograd.grad(
            output, (self.image, *self.parameters), vector, retain_graph=keep, materialize_grads=True
        )
        leaf = gradient.detach().requires_grad_()
        self.pulls[of] = Pull(leaf, tuple(slopes), cotangent)
        return leaf

    def _output_again(self) -> Tensor:
        with self.forward.again():
            return _run(self)
