from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from gradlens.core.types import Batch
from gradlens.models.watching import full_float32
from gradlens.training.engines._base_point import BasePoint
from gradlens.training.engines._step import Penalty, StepStats, labels, plain_step


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
    adversarial training, with its collapse.
    """

    relative_step: float = 3e-4
    largest_displacement: float = 0.1

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
        # Black images have no size that a step could be relative to.
        wanted = self.relative_step * max(_rms(base.image), 1 / 255)
        return min(wanted, self.largest_displacement * base.eps) / _rms(direction)

    def _fill(self, base: BasePoint, share: float) -> float:
        """Add the gradients, the loss's with the first direction; returns the largest displacement."""
        # At x + hv rather than at x, which is off by the relative step, and free.
        rest: list = [(share, base.loss_cotangent.at), (1.0, lambda logits: base.direct)]
        if not base.directions:
            base.add(base.slopes(0.0, rest))
        furthest = 0.0
        for of, direction in base.directions.items():
            step, pull, known = self.step(base, direction), base.pulls[of], 0.0
            if of == "loss":
                known, rest = share, rest[1:]
            base.add(base.slopes(step * direction, [(1 / step, pull.cotangent.at), *rest]))
            base.add(pull.slopes, known - 1 / step)
            rest, furthest = [], max(furthest, step * _rms(direction))
        return furthest


def _rms(values: Tensor) -> float:
    return float(values.detach().norm()) / values.numel() ** 0.5
