"""Gradient penalties, one a file: functions of a differentiable probe that training adds to its loss.

A penalty is ``probe -> (B,)``, one number an image that does not depend on the others, or a scalar where
it is of the batch as a whole. It takes gradients from ``probe.gradient(…)`` and knows of no engine. How its
weight grows is not its own: every spec may say ``alpha``, ``step`` and ``cap`` (``Ramp``).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property, partial
from typing import Any

from torch import Tensor

from gradlens.core.names import parse_spec, unknown
from gradlens.core.registry import penalty, typed_parameters
from gradlens.core.types import UserError
from gradlens.probes.probe import Probe


@dataclass(frozen=True)
class Ramp:
    """A weight over training: ``alpha`` at the start, ``step`` more with each epoch, never above ``cap``."""

    alpha: float = 1.0
    step: float = 0.0
    cap: float = math.inf

    def __post_init__(self) -> None:
        if not (math.isfinite(self.alpha) and math.isfinite(self.step) and 0 <= self.alpha <= self.cap):
            raise UserError(
                f"a weight that starts at alpha={self.alpha:g}, grows by step={self.step:g} an epoch and ends at "
                f"cap={self.cap:g}; wanted 0 ≤ alpha ≤ cap"
            )

    def at(self, epoch: float) -> float:
        """The weight after that many epochs, fractions of one included; never below 0."""
        return max(0.0, min(self.alpha + self.step * epoch, self.cap))


@dataclass(frozen=True)
class WeightedPenalty:
    """A penalty with all of its parameters, and how its weight grows: what a spec of a recipe says.

    Called with a probe it is the penalty, without the weight.
    """

    name: str
    parameters: Mapping[str, Any]
    ramp: Ramp = Ramp()

    def __call__(self, probe: Probe) -> Tensor:
        found = self._function(probe)
        shape = tuple(found.shape) if isinstance(found, Tensor) else None
        if shape != (len(probe.batch),) and not (shape == () and self.batchwise):
            what = f"a {type(found).__name__}" if shape is None else f"shape {shape}"
            raise UserError(
                f"penalty '{self.name}' returned {what}; wanted one number an image, ({len(probe.batch)},), or one of "
                "the batch from a penalty with a parameter batchwise that is true"
            )
        # Ours are finite where the network is; asking costs a wait for the device.
        if not penalty.ours(self.name) and not found.isfinite().any():
            raise UserError(f"penalty '{self.name}' is finite for no image of the batch; wanted numbers")
        return found

    @property
    def batchwise(self) -> bool:
        """Whether it is one number of the batch as a whole."""
        return bool(self.parameters.get("batchwise"))

    @property
    def eps(self) -> float:
        """The attack's radius that it is meant for, 4/255 where it has none."""
        return float(self.parameters.get("eps", 4 / 255))

    @property
    def needs(self) -> tuple[str, ...]:
        """What a probe must record for it, such as ``units``."""
        return tuple(getattr(self._function, "needs", ()))

    @property
    def fits(self) -> bool:
        """Whether it learns from training images before it can be called."""
        return bool(getattr(self._function, "fits", False))

    def fit(self, pilot: Probe) -> None:
        """Show it some training images; adds to those it has seen."""
        self._function.fit(pilot)  # type: ignore[attr-defined]

    def provenance(self) -> dict[str, Any]:
        return {"name": self.name, **self.parameters, **asdict(self.ramp)}

    @cached_property
    def _function(self) -> Callable[[Probe], Tensor]:
        method = penalty[self.name]
        made: Any = method(**self.parameters) if inspect.isclass(method) else partial(method, **self.parameters)
        return made


# The names that are the weight's in every spec.
RAMP = tuple(field.name for field in fields(Ramp))


def choose_penalty(spec: str) -> WeightedPenalty:
    """``edge:target=sobel,alpha=1,step=.09,cap=10`` → the penalty ``edge`` with a weight from 1 to 10.

    ``alpha``, ``step`` and ``cap`` are the weight's, whatever the penalty; the others are its own.
    """
    name, text = parse_spec(spec)
    method, what = penalty[name], f"penalty '{name}'"
    defaults = {n: p.default for n, p in inspect.signature(method).parameters.items() if p.default is not p.empty}
    for given in text:
        if given not in (*defaults, *RAMP):
            raise UserError(unknown(f"parameter of {what}", given, [*defaults, *RAMP]))
    own = typed_parameters(method, {k: v for k, v in text.items() if k not in RAMP}, what)
    ramp = Ramp(**typed_parameters(Ramp, {k: v for k, v in text.items() if k in RAMP}, f"weight of {what}"))
    return WeightedPenalty(name, {**defaults, **own}, ramp)
