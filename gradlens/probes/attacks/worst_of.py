"""The smallest perturbation at which the worst of several attacks succeeds, image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradlens.core.registry import attack
from gradlens.core.types import Batch
from gradlens.probes.attacks import Evaluate, noise_of
from gradlens.probes.probe import Probe


class Member(NamedTuple):
    """One attack of a suite: its name, what it raises, and its parameters without eps."""

    name: str
    objective: str
    parameters: dict[str, Any]


class Reach(NamedTuple):
    """Where each image breaks, ``(B,)`` each.

    level: 0 wrong unattacked; k broken at the k-th radius but not at the one before; one more than there
    are radii, broken at none. breaker: the number in the suite, from 1, of the attack that broke the
    image at its level; 0 where none did.
    """

    level: Tensor
    breaker: Tensor


def worst_of(probe: Probe, radii: Sequence[float], suite: Sequence[Member]) -> Reach:
    """The smallest of rising radii at which some attack of the suite breaks each image.

    The first attack brackets it by bisection; from there the whole suite goes down, a radius at a time,
    as long as it succeeds. What breaks within a radius breaks within every larger one, so an image is
    put to all attacks where it matters only: just below its level, where it withstood them. An attack
    succeeds by any image that it tries and the model gets wrong, and spends nothing on it after that.
    """
    eps = torch.tensor([0.0, *radii, radii[-1]], dtype=torch.float64, device=probe.correct.device)
    level = torch.where(probe.correct, len(radii) + 1, 0)
    breaker, below = torch.zeros_like(level), torch.zeros_like(level)
    while (between := level - below > 1).any():
        middle = (level + below) // 2
        broke = first_to_break(probe, suite[:1], between, eps[middle]) > 0
        breaker[broke] = 1
        level, below = level.where(~broke, middle), below.where(~between | broke, middle)
    # Where the suite begins, its first attack has failed already.
    rows, first = level > 1, 1
    while rows.any():
        by = first_to_break(probe, suite, rows, eps[level - 1], first)
        rows, first = by > 0, 0
        breaker, level = torch.where(rows, by, breaker), level - rows.long()
        rows &= level > 1
    return Reach(level, breaker)


def first_to_break(probe: Probe, suite: Sequence[Member], rows: Tensor, eps: Tensor, first: int = 0) -> Tensor:
    """The number in the suite, from 1, of the first attack that breaks each chosen image; 0 where none does.

    rows: which images are attacked, ``(B,)`` bool; eps: their own radii ``(B,)``; first: how many attacks
    of the suite to leave out.
    """
    by = torch.zeros(len(rows), dtype=torch.long, device=rows.device)
    for number, member in enumerate(suite[first:], first + 1):
        standing = rows & (by == 0)
        if standing.any():
            evaluate = Standing(restricted(probe, standing, probe.batch.image[standing]), member.objective)
            noise = noise_of(evaluate.probe, f"attack/{member.name}")
            run = attack[member.name]
            run(evaluate, evaluate.probe.batch.image, noise, eps=eps[standing], **member.parameters)
            by[standing] = evaluate.broken * number
    return by


class Standing(Evaluate):
    """Evaluates for an attack, and spends nothing on an image once the model got it wrong.

    Such an image keeps its value and has no gradient any more; the others are attacked as ever.
    """

    def __init__(self, probe: Probe, objective: str):
        super().__init__(self._of_standing, objective)
        self.probe, self._last = probe, probe
        self.broken = torch.zeros(len(probe.batch), dtype=torch.bool, device=probe.batch.image.device)
        self._value = torch.zeros_like(self.broken, dtype=torch.float64)

    def value(self, image: Tensor) -> Tensor:
        rows = ~self.broken
        if rows.any():
            self._value[rows] = super().value(image[rows])
            self.broken[rows] = ~self._last.correct
        return self._value.clone()

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor]:
        rows, gradient = ~self.broken, torch.zeros_like(image)
        if rows.any():
            self._value[rows], gradient[rows] = super().__call__(image[rows])
            self.broken[rows] = ~self._last.correct
        return self._value.clone(), gradient

    def _of_standing(self, image: Tensor) -> Probe:
        self._last = restricted(self.probe, ~self.broken, image, f"gradient:{self.objective}")
        return self._last


def restricted(probe: Probe, rows: Tensor, image: Tensor, *needs: str) -> Probe:
    """A look at other pixels of some of a probe's images."""
    index = probe.batch.index[rows.to(probe.batch.index.device)]
    return Probe(probe.model, Batch(image.detach(), probe.target[rows], index), seed=probe.seed, needs=needs)
