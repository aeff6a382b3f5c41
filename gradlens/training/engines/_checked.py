"""How far the fast engine can be trusted on the network and the batch in hand, and what is done where it cannot."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.core.surroundings import full_float32
from gradlens.core.types import Batch
from gradlens.models.watching import untouched
from gradlens.training.engines._finite_difference import BasePoint, FiniteDifference
from gradlens.training.engines._step import Engine, Penalty, StepStats, double_backward, trainable

Slopes = Sequence[Tensor]
LOG = logging.getLogger("gradlens")
LARGEST_KINK = 0.1
# Between a step and the next longer one, and how often that is asked: up to 243 times the usual 3e-4, 7 % of the image.
LONGER, TRIES, SAME_DIRECTION = 3.0, 6, 0.999


@dataclass
class CheckedFiniteDifference:
    """Finite differences for as long as they agree with double backward, which they are checked against.

    A check takes the cosine of the two engines' penalty gradients on the first ``check_images`` of a batch: in
    the first step that has a penalty and in every ``check_every``-th after it (0: the first alone). Before that
    it finds a step that rounding does not drown (``find_step``), beyond the cap at 0.1 ε if need be. Below
    ``lowest_cosine`` the steps up to the next check run on double backward. A warning says both; where double
    backward is not possible there is nothing to compare with, and it says that. The kink alarm goes with the
    first check.
    """

    fast: FiniteDifference = field(default_factory=FiniteDifference)
    check_every: int = 200
    check_images: int = 32
    lowest_cosine: float = 0.99
    _steps: int = field(default=0, init=False)
    _fallen: bool = field(default=False, init=False)

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
        found: dict[str, Any] = {}
        if weight != 0:
            due = self._steps % self.check_every == 0 if self.check_every else self._steps == 0
            found = self._checked(model, batch[slice(0, self.check_images)], penalty, seed) if due else {}
            self._steps += 1
        engine = double_backward if self._fallen else self.fast
        return replace(engine(model, batch, penalty, weight, loss_weight=loss_weight, seed=seed), **found)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to check, to step as far and to have fallen back where this one would."""
        return {"steps": self._steps, "fallen": self._fallen, "growth": self.fast.growth}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._steps, self._fallen = state["steps"], state["fallen"]
        self.fast = replace(self.fast, growth=state.get("growth", 1.0))

    def _checked(self, model: nn.Module, some: Batch, penalty: Penalty, seed: int) -> dict[str, float]:
        self._grow(model, some, penalty, seed)
        found = {"kink": self._alarm(model, some, penalty, seed)} if self._steps == 0 else {}
        try:
            found["cosine"] = agreement(self.fast, model, some, penalty, seed)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            LOG.warning("finite differences cannot be checked, double backward fails: %s", reason)
            return found
        LOG.info("step %d: cosine of finite differences with double backward %.5f", self._steps, found["cosine"])
        self._choose(found["cosine"])
        return found

    def _grow(self, model: nn.Module, some: Batch, penalty: Penalty, seed: int) -> None:
        before, self.fast = self.fast.growth, find_step(self.fast, model, some, penalty, seed)
        if self.fast.growth not in (1.0, before):
            LOG.warning(
                "rounding drowns finite differences here, the network being nearly linear: the step is now %.0f times "
                "as long, which may pass the cap of %.2g ε (the history's displacement)",
                *(self.fast.growth, self.fast.largest_displacement),
            )

    def _choose(self, cosine: float) -> None:
        # A cosine that is not a number is no agreement.
        fallen = not cosine >= self.lowest_cosine
        if fallen != self._fallen:
            now = "double backward, about 1.5 times as slow" if fallen else "finite differences again"
            cause = (" (rounding)" if self.fast.growth > 1 else " (kinks or curvature)") if fallen else ""
            wanted = self.lowest_cosine
            LOG.warning("cosine with double backward %.4f%s, %.4g is wanted: on with %s", cosine, cause, wanted, now)
        self._fallen = fallen

    def _alarm(self, model: nn.Module, some: Batch, penalty: Penalty, seed: int) -> float:
        ratio = kink(self.fast, model, some, penalty, seed)
        if ratio > LARGEST_KINK or math.isinf(ratio):
            LOG.warning(
                "the network has kinks that finite differences step over (%.2g; smooth is below 0.03): functions such "
                "as clamp, abs or hardswish; swap them, or train with the engine double_backward",
                ratio,
            )
        return ratio


def agreement(engine: Engine, model: nn.Module, batch: Batch, penalty: Penalty, seed: int = 0) -> float:
    """Cosine of the penalty's own parameter gradient between an engine and double backward, in [−1, 1].

    1: the same direction; two zeros agree. The model, its gradients and all random numbers stay as they were.
    """
    return _cosine(*(penalty_gradient(e, model, batch, penalty, seed) for e in (engine, double_backward)))


def find_step(
    engine: FiniteDifference, model: nn.Module, batch: Batch, penalty: Penalty, seed: int = 0
) -> FiniteDifference:
    """The engine at the shortest step h that gives the direction that 3h gives, from its usual one up.

    Where none does, at the one that comes nearest; and at the usual one where longer steps agree only because they
    step over kinks. It needs no double backward, two passes a step, and leaves no trace.
    """
    tried: list[tuple[float, FiniteDifference]] = []
    steps = [replace(engine, growth=LONGER**k) for k in range(TRIES + 1)]
    slopes = penalty_gradient(steps[0], model, batch, penalty, seed)
    for step, longer in itertools.pairwise(steps):
        before, slopes = slopes, penalty_gradient(longer, model, batch, penalty, seed)
        tried.append((_cosine(before, slopes), step))
        if tried[-1][0] >= SAME_DIRECTION:
            break
    found = max(tried, key=lambda one: one[0])[1]
    # Rounding weighs less the longer the step, kinks as much: then a longer one would be another object.
    grown = found.growth > 1 and kink(found, model, batch, penalty, seed) <= LARGEST_KINK
    return found if grown else steps[0]


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


def _cosine(a: Slopes, b: Slopes) -> float:
    if not any(g.count_nonzero() for g in (*a, *b)):
        return 1.0
    size = math.sqrt(_product(a, a) * _product(b, b))
    return _product(a, b) / size if size else math.nan


def _product(a: Slopes, b: Slopes) -> float:
    return sum(float((p.double() * q.double()).sum()) for p, q in zip(a, b, strict=True))
