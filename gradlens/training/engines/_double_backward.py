from __future__ import annotations

from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradlens.core.types import Batch
from gradlens.models.watching import full_float32
from gradlens.probes.probe import Probe
from gradlens.training.engines._step import Penalty, StepStats, labels, plain_step, reduced, trainable


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
