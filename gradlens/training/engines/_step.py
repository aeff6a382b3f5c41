"""What a step is for every engine, and the exact ones: without a penalty, and by double backward."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradlens.core.surroundings import full_float32
from gradlens.core.types import Batch, UserError
from gradlens.probes.objectives.logits import loss
from gradlens.probes.probe import Probe

Penalty = Callable[[Probe], Tensor]


@dataclass(frozen=True)
class StepStats:
    """What a step says of itself; NaN where it did not measure a number.

    loss: mean cross-entropy in nats. penalty: its mean over images, or its value where it is batchwise,
    before the weight. engine: the one that was used. displacement: the finite difference's root mean square
    move of a pixel over ε, at most 0.1 unless rounding asked for more. cosine, kink: what a check found in this
    step (``CheckedFiniteDifference``).
    """

    loss: float
    penalty: float = math.nan
    engine: str = "plain"
    displacement: float = math.nan
    cosine: float = math.nan
    kink: float = math.nan


@runtime_checkable
class Engine(Protocol):
    """Adds the gradient of ``loss_weight · mean cross-entropy + weight · penalty`` to the parameters' ``.grad``.

    The model runs in the mode it is in. Gradients add up, as after ``backward()``, so accumulation over K
    batches passes both weights over K. seed draws the sampled classes: give each epoch its own. A batch's
    target may be soft, ``(B, K)``. In mode ``train`` BatchNorm's statistics see the batch once.
    """

    def __call__(
        self,
        model: nn.Module,
        batch: Batch,
        penalty: Penalty,
        weight: float,
        *,
        loss_weight: float = 1.0,
        seed: int = 0,
    ) -> StepStats: ...


def plain_step(model: nn.Module, batch: Batch, loss_weight: float = 1.0) -> StepStats:
    """The step without a penalty: the gradient of ``loss_weight`` times the mean cross-entropy."""
    with full_float32():
        value = loss(model(batch.image), labels(batch)).mean()
        (loss_weight * value).backward(inputs=trainable(model))
    return StepStats(float(value.detach()))


def double_backward(
    model: nn.Module, batch: Batch, penalty: Penalty, weight: float, *, loss_weight: float = 1.0, seed: int = 0
) -> StepStats:
    """The exact engine: differentiate the graph of the input gradient.

    About three plain steps in time, and twice the memory. Attention runs on torch's math backend for the
    step, since fused attention has no second derivative. Of a ReLU or a max-pool the second derivative is
    that of its present branch.
    """
    if weight == 0:
        return plain_step(model, batch, loss_weight)
    labels(batch), trainable(model)
    with full_float32(), sdpa_kernel(SDPBackend.MATH):
        probe = Probe(model, batch, "graph", seed, getattr(penalty, "needs", ()))
        value, loss = reduced(penalty(probe), len(batch)), probe.loss.mean()
        # Without naming its inputs: that would pass over a function that cannot be differentiated twice in silence.
        (loss_weight * loss + weight * value).backward()
    return StepStats(float(loss.detach()), float(value.detach()), "double_backward")


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that an engine fills the gradients of."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise UserError("the model has no parameter with requires_grad; unfreeze what is to be trained")
    return parameters


def labels(batch: Batch) -> Tensor:
    if batch.target is None:
        raise UserError("the batch has no labels, which cross-entropy is trained on; give data with classes")
    return batch.target


def reduced(penalty: object, images: int) -> Tensor:
    """The mean of one number an image; a batchwise penalty is one number already."""
    if not isinstance(penalty, Tensor) or penalty.shape not in ((), (images,)):
        found = tuple(penalty.shape) if isinstance(penalty, Tensor) else type(penalty).__name__
        raise UserError(f"the penalty returned {found}; wanted one number an image, ({images},), or one tensor ()")
    if not penalty.requires_grad:
        raise UserError("the penalty does not depend on the model; compute it from probe.gradient(…) or probe.logits")
    return penalty.mean()
