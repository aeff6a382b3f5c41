"""The second derivative as the change of a first one.

A ``Leaf`` hands the penalty its gradients, the ``BasePoint`` finds the directions that the penalty pulls them in,
and ``FiniteDifference`` takes a step along each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from gradlens.core.surroundings import full_float32
from gradlens.core.types import Batch
from gradlens.probes.objectives.logits import loss
from gradlens.probes.probe import Probe
from gradlens.training.engines._replay import RepeatablePass
from gradlens.training.engines._step import Penalty, StepStats, labels, plain_step, reduced, trainable

EPS = 4 / 255
Slopes = tuple[Tensor, ...]
Terms = Sequence[tuple[float, Callable[[Tensor], Tensor]]]
# What fills a probe's logits, without keeping them.
_run = cast(Any, Probe.logits).func


@dataclass(frozen=True)
class FiniteDifference:
    """The fast engine: the second derivative as the change of a first one, at 2.1 plain steps.

    With z the objective whose gradient G the penalty P was given, and v = ∂P/∂G held fixed,
    ``∂P/∂θ = (∂z/∂θ(x + hv) − ∂z/∂θ(x)) / h`` up to O(h). One backward pass gives G and ∂z/∂θ at x, and one
    at x + hv the rest, together with the cross-entropy's. The second pass repeats the first's random
    numbers, drawn classes and branches. What P depends on besides G keeps its own gradient; each objective
    more that it asks the gradient of costs one pass more.

    relative_step: ``‖hv‖₂ / ‖x‖₂`` over the batch. largest_displacement: the most that the root mean square
    of hv may be of the penalty's ε (4/255 where it has none), near which this would be single-step
    adversarial training, with its collapse. growth: the step is this many times as long, whatever ε, where
    the network is so nearly linear that float32 would round the difference away (``find_step``).
    """

    relative_step: float = 3e-4
    largest_displacement: float = 0.1
    growth: float = 1.0

    def __call__(
        self,
        model: nn.Module,
        batch: Batch,
        penalty: Penalty,
        weight: float,
        *,
        loss_weight: float = 1.0,
        seed: int = 0,
    ) -> StepStats:
        if weight == 0:
            return plain_step(model, batch, loss_weight)
        labels(batch)
        with full_float32():
            base = BasePoint(model, batch, penalty, weight, seed)
            furthest = self._fill(base, loss_weight / len(batch))
        return StepStats(base.loss, base.penalty, "finite_difference", furthest / base.eps)

    def step(self, base: BasePoint, direction: Tensor) -> float:
        """h, the multiple of the direction to go along."""
        # A longer step is bent by the next derivative and meets kinks that no replay takes care of; of a shorter
        # one the difference drowns in float32's rounding. Between lie decades on trained networks, for which
        # 3e-4 was chosen. Black images have no size that a step could be relative to.
        wanted = self.relative_step * max(_rms(base.image), 1 / 255)
        return self.growth * min(wanted, self.largest_displacement * base.eps) / _rms(direction)

    def _fill(self, base: BasePoint, share: float) -> float:
        """Add the gradients, the loss's with the first direction; returns the largest displacement."""
        # What needs one gradient by the parameters only goes along with the first displaced pass: at x + hv rather
        # than at x it is off by the relative step, and free.
        rest: list = [(share, base.loss_cotangent.at), (1.0, lambda logits: base.direct)]
        if not base.directions:
            base.add(base.slopes(0.0, rest))
        furthest = 0.0
        for of, direction in base.directions.items():
            step, pull, known = self.step(base, direction), base.pulls[of], 0.0
            if of == "loss":
                # The base point's slopes are the cross-entropy's own gradient, exact and at hand.
                known, rest = share, rest[1:]
            base.add(base.slopes(step * direction, [(1 / step, pull.cotangent.at), *rest]))
            # The other end of the difference, (∂z/∂θ(x + hv) − ∂z/∂θ(x)) / h.
            base.add(pull.slopes, known - 1 / step)
            rest, furthest = [], max(furthest, step * _rms(direction))
        return furthest


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
        # As far as the leaves and no further: how they depend on the parameters is what the difference will tell.
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
        # By the image and by the parameters in one pass, so one end of the difference costs no pass of its own. With
        # ``keep`` unset it frees the graph, which is why the engine needs no more memory than a plain step.
        gradient, *slopes = torch.autograd.grad(
            output, (self.image, *self.parameters), vector, retain_graph=keep, materialize_grads=True
        )
        leaf = gradient.detach().requires_grad_()
        self.pulls[of] = Pull(leaf, tuple(slopes), cotangent)
        return leaf

    def _output_again(self) -> Tensor:
        with self.forward.again():
            return _run(self)


def _rms(values: Tensor) -> float:
    return float(values.detach().norm()) / values.numel() ** 0.5
