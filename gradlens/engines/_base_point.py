from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gradlens._types import Batch
from gradlens.engines._leaf import Cotangent, Leaf
from gradlens.engines._repeat import RepeatablePass
from gradlens.engines._step import Penalty, reduced, trainable

EPS = 4 / 255
Slopes = tuple[Tensor, ...]


class BasePoint:
    """The first pass of a finite difference: the penalty, the directions it pulls in, and the way back.

    directions ``{objective: (B, C, H, W)}``: the derivative of ``weight · penalty`` by each gradient that it
    was given, the loss first, without those that are zero. What the penalty depends on besides gradients is
    added to ``.grad`` here. plain: the parameters' gradient of ``Σ_b loss_b`` where there is no direction.
    """

    def __init__(self, model: nn.Module, batch: Batch, penalty: Penalty, weight: float, seed: int):
        self.model, self.image, self.parameters = model, batch.image, trainable(model)
        self.eps = float(getattr(penalty, "eps", EPS))
        self._pass = RepeatablePass(model)
        probe = Leaf(model, batch, self.parameters, seed, getattr(penalty, "needs", ()))
        with self._pass.first():
            _ = probe.logits
        value = reduced(penalty(probe), len(batch))
        leaves = [pull.gradient for pull in probe.pulls.values()]
        (weight * value).backward(inputs=[*leaves, *self.parameters])
        self.loss, self.penalty = float(probe.loss.detach().mean()), float(value.detach())
        self.loss_cotangent, self.pulls = probe.cotangent("loss"), probe.pulls
        received = {of: pull.gradient.grad for of, pull in probe.pulls.items()}
        used = {of: v for of, v in received.items() if v is not None and v.count_nonzero()}
        self.directions = dict(sorted(used.items(), key=lambda item: item[0] != "loss"))
        self.plain = () if self.directions else self._slopes(probe.loss.sum())

    def slopes_at(self, displacement: Tensor, terms: Iterable[tuple[Cotangent, float]]) -> Slopes:
        """``∂/∂θ`` of a weighted sum of objectives at displaced images, on the branches of the base point."""
        with self._pass.again():
            logits = self.model(self.image + displacement)
        vector = torch.stack([weight * cotangent.at(logits) for cotangent, weight in terms]).sum(0)
        return self._slopes(logits, vector.to(logits.dtype))

    def add(self, slopes: Slopes, factor: float = 1.0) -> None:
        """Add a multiple of them to the parameters' ``.grad``."""
        for parameter, slope in zip(self.parameters, slopes, strict=True):
            if parameter.grad is None:
                parameter.grad = slope if factor == 1 else factor * slope
            else:
                parameter.grad.add_(slope, alpha=factor)

    def _slopes(self, output: Tensor, vector: Tensor | None = None) -> Slopes:
        return torch.autograd.grad(output, self.parameters, vector, materialize_grads=True)
