from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from gradlens.core.types import Batch
from gradlens.probes.objectives.logits import loss
from gradlens.training.engines._leaf import Cotangent, Leaf, Slopes
from gradlens.training.engines._step import Penalty, reduced, trainable

EPS = 4 / 255
Terms = Sequence[tuple[float, Callable[[Tensor], Tensor]]]


class BasePoint:
    """The first pass of a finite difference: the penalty, the directions it pulls in, and the way back.

    directions ``{objective: (B, C, H, W)}``: the derivative of ``weight · penalty`` by each gradient that it
    was given, the loss first, without those that are zero. direct ``(B, K)``: its derivative by the logits.
    What it depends on through units is added to ``.grad`` here.
    """

    def __init__(self, model: nn.Module, batch: Batch, penalty: Penalty, weight: float, seed: int):
        self.model, self.image, self.parameters = model, batch.image, trainable(model)
        self.eps = float(getattr(penalty, "eps", EPS))
        probe = Leaf(model, batch, self.parameters, seed, tuple(getattr(penalty, "needs", ())))
        value = reduced(penalty(probe), len(batch))
        leaves = {of: pull.gradient for of, pull in probe.pulls.items()}
        (weight * value).backward(inputs=[*leaves.values(), probe.logits, *self.parameters])
        self.loss, self.penalty = float(probe.loss.detach().mean()), float(value.detach())
        self.direct = torch.zeros_like(probe.logits) if probe.logits.grad is None else probe.logits.grad.double()
        self.pulls, self._forward = probe.pulls, probe.forward
        self.loss_cotangent = Cotangent(partial(loss, target=probe.target), probe.logits)
        used = {of: leaf.grad for of, leaf in leaves.items() if leaf.grad is not None and leaf.grad.count_nonzero()}
        self.directions = dict(sorted(used.items(), key=lambda item: item[0] != "loss"))

    def slopes(self, displacement: Tensor | float, terms: Terms) -> Slopes:
        """``Σ_b v(logits)_b · ∂ logits_b / ∂θ`` at displaced images, on the branches of the base point.

        terms: v as a weighted sum of functions of the logits there.
        """
        with self._forward.again():
            logits = self.model(self.image + displacement)
        vector = torch.stack([weight * of(logits) for weight, of in terms]).sum(0)
        return torch.autograd.grad(logits, self.parameters, vector.to(logits.dtype), materialize_grads=True)

    def add(self, slopes: Slopes, factor: float = 1.0) -> None:
        """Add a multiple of them to the parameters' ``.grad``."""
        for parameter, slope in zip(self.parameters, slopes, strict=True):
            if parameter.grad is None:
                parameter.grad = slope if factor == 1 else factor * slope
            else:
                parameter.grad.add_(slope, alpha=factor)
