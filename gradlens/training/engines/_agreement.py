"""How far a fast engine can be trusted on the network and the batch in hand."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from gradlens.core.types import Batch
from gradlens.models.watching import full_float32
from gradlens.training.engines._base_point import BasePoint
from gradlens.training.engines._double_backward import double_backward
from gradlens.training.engines._finite_difference import FiniteDifference
from gradlens.training.engines._repeat import untouched
from gradlens.training.engines._step import Engine, Penalty, trainable

Slopes = Sequence[Tensor]


def agreement(engine: Engine, model: nn.Module, batch: Batch, penalty: Penalty, seed: int = 0) -> float:
    """Cosine of the penalty's own parameter gradient between an engine and double backward, in [−1, 1].

    1: the same direction; two zeros agree. The model, its gradients and all random numbers stay as they were.
    """
    found, exact = (penalty_gradient(e, model, batch, penalty, seed) for e in (engine, double_backward))
    product, size = _product(found, exact), math.sqrt(_product(found, found) * _product(exact, exact))
    if not any(g.count_nonzero() for g in (*found, *exact)):
        return 1.0
    return product / size if size else math.nan


def kink(engine: FiniteDifference, model: nn.Module, batch: Batch, penalty: Penalty, seed: int = 0) -> float:
    """``‖g₊ + g₋ − 2g₀‖ / ‖g₊ − g₋‖`` of the parameters' gradients on both sides of the images.

    Below 0.03 where the network is smooth at the size of a step, near 1 where it has kinks that no replay
    takes care of. NaN where the penalty pulls in no direction.
    """
    with untouched(model), _gradients_put_aside(model), full_float32():
        base = BasePoint(model, batch, penalty, 1.0, seed)
        for of, direction in base.directions.items():
            step, pull = engine.step(base, direction), base.pulls[of]
            ahead, behind = (base.slopes(sign * step * direction, [(1.0, pull.cotangent.at)]) for sign in (1, -1))
            bend = [a + b - 2 * g for a, b, g in zip(ahead, behind, pull.slopes, strict=True)]
            change = [a - b for a, b in zip(ahead, behind, strict=True)]
            size = _product(change, change)
            return math.sqrt(_product(bend, bend) / size) if size else math.nan
    return math.nan


def penalty_gradient(engine: Engine, model: nn.Module, batch: Batch, penalty: Penalty, seed: int = 0) -> Slopes:
    """What an engine gives each parameter for the penalty alone; nothing stays of it in the model."""
    with untouched(model), _gradients_put_aside(model):
        engine(model, batch, penalty, 1.0, loss_weight=0.0, seed=seed)
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in trainable(model)]


@contextmanager
def _gradients_put_aside(model: nn.Module) -> Iterator[None]:
    kept = [(p, p.grad) for p in trainable(model)]
    try:
        for parameter, _ in kept:
            parameter.grad = None
        yield
    finally:
        for parameter, gradient in kept:
            parameter.grad = gradient


def _product(a: Slopes, b: Slopes) -> float:
    return sum(float((p.double() * q.double()).sum()) for p, q in zip(a, b, strict=True))
