"""The smallest distance at which an attack breaks each image, by doubling and bisection of its ball's radius."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from gradlens.probes.attacks import Ball, noise_of
from gradlens.probes.attacks.worst_of import Standing, restricted
from gradlens.probes.probe import Probe

# Halvings of the segment from an image to the one that broke; each is a forward pass.
SHRINKINGS = 10
# Of the distance that broke an image, the lower end of the attacks that follow.
JUST_BELOW = 0.985


@dataclass(frozen=True)
class Schedule:
    """How often, how long and from where the radius is attacked.

    attacks: at most so many, doublings included; steps: of one attack. start: the first radius in pixels of
    [0, 1]; None takes the distance to the boundary by the image's own slope. step: a fixed share of the radius;
    None falls from the whole radius as a cosine. warm: attacks go on from the nearest image that broke, else from
    noise. tolerance: of the distance between the ends, relative, at which an image is finished. again: so many attacks
    follow just below what broke, from noise and on the loss, since the nearest image may lie elsewhere.
    """

    attacks: int
    steps: int
    start: float | None = None
    step: float | None = None
    warm: bool = True
    objective: str = "-margin"
    tolerance: float = 0.0
    again: int = 0


SCHEDULES = {
    "bisection": Schedule(attacks=12, steps=50, tolerance=0.003, again=2),
    # The public code's numbers; the smallest ε that broke is kept, which it forgets where a later start fails.
    "rodriguez2024": Schedule(attacks=15, steps=100, start=0.00784, step=0.25, warm=False, objective="loss"),
}


class Found(NamedTuple):
    """What the search knows of each image, ``(B,)`` each.

    distance: of the nearest image that broke, float64; 0 wrong unattacked, ∞ where nothing broke within the largest
    radius. passes: the gradients that it cost.
    """

    distance: Tensor
    passes: Tensor


def smallest(probe: Probe, norm: str, top: float, schedule: Schedule) -> Found:
    """Double each image's radius until an attack succeeds, then bisect between its last failure and nearest success.

    A success counts with the distance of the image that broke, shrunk along its segment as far as it stays broken,
    so it may lie far below the radius that was attacked; the next radius always lies below it, so no later
    failure can hide it. Images leave the batch when they break and when they are finished.
    """
    search = _Search(probe, norm, top, schedule)
    for number in range(schedule.attacks):
        rows = search.open
        if not rows.any():
            break
        search.attack(rows, number)
    for number in range(schedule.attacks, schedule.attacks + schedule.again):
        search.again(number)
    return Found(search.best, search.passes)


class _Search:
    """Each image's ends: the largest radius that failed, and the nearest image that broke."""

    def __init__(self, probe: Probe, norm: str, top: float, schedule: Schedule):
        self.probe, self.norm, self.top, self.schedule = probe, norm, top, schedule
        self.nearest = probe.batch.image.clone()
        self.best = torch.where(probe.correct, torch.inf, 0.0).double()
        self.lower = torch.zeros_like(self.best)
        self.passes = torch.zeros_like(self.best)
        self.first = self._start()

    @property
    def open(self) -> Tensor:
        """Which images are not finished."""
        known = self.best < torch.inf
        return torch.where(known, self.best - self.lower > self.schedule.tolerance * self.best, self.lower < self.top)

    def again(self, number: int) -> None:
        """One more attack on what broke, just below it and from elsewhere."""
        rows = (self.best > 0) & (self.best < torch.inf)
        self.lower = torch.where(rows, JUST_BELOW * self.best, self.lower)
        self.schedule = replace(self.schedule, warm=False, objective="loss")
        if rows.any():
            self.attack(rows, number)

    def attack(self, rows: Tensor, number: int) -> None:
        """One attack on each of these images, at its next radius."""
        doubled = torch.where(self.lower > 0, 2 * self.lower, self.first).clamp(max=self.top)
        radius = torch.where(self.best < torch.inf, (self.lower + self.best) / 2, doubled)[rows]
        given, nearest = self.probe.batch.image[rows], self.nearest[rows]
        ball, standing = (
            Ball(given, self.norm, radius),
            Standing(restricted(self.probe, rows, given), self.schedule.objective),
        )
        warm = self.schedule.warm and number > 0
        noise = noise_of(standing.probe, "attack/bisection")
        current = ball.nearest(nearest) if warm else ball.start(noise, number)
        for step in range(self.schedule.steps):
            if standing.broken.all():
                break
            self.passes[rows] += (~standing.broken).double()
            _, gradient = standing(current)
            current = ball.nearest(current + self._share(step) * ball.eps * ball.steepest(gradient))
        standing.value(current)
        ball.check(current, "the search's attack")
        self._learn(rows, standing.broken, radius, current, given)

    def _learn(self, rows: Tensor, broke: Tensor, radius: Tensor, current: Tensor, given: Tensor) -> None:
        """Raise the lower end where the attack failed, and take what broke, shrunk, for the upper one."""
        where = rows.nonzero()[:, 0]
        self.lower[where[~broke]] = radius[~broke]
        if broke.any():
            shrunk = self._shrunk(where[broke], given[broke], current[broke])
            self.nearest[where[broke]] = shrunk
            self.best[where[broke]] = Ball(given[broke], self.norm, 0.0).distance(shrunk).double()

    def _shrunk(self, where: Tensor, given: Tensor, broken: Tensor) -> Tensor:
        """The nearest images on the segments that bisection finds the model to get wrong."""
        outer, inner = given.new_ones(len(given), 1, 1, 1), given.new_zeros(len(given), 1, 1, 1)
        rows, found = torch.zeros_like(self.best, dtype=torch.bool).index_fill(0, where, True), broken
        for _ in range(SHRINKINGS):
            middle = (outer + inner) / 2
            tried = given + middle * (broken - given)
            look = restricted(self.probe, rows, tried)
            # As a leaf that wants no gradient.
            look.image = tried
            wrong = ~look.correct.view(-1, 1, 1, 1)
            outer, inner = torch.where(wrong, middle, outer), torch.where(wrong, inner, middle)
            found = torch.where(wrong, tried, found)
        return found

    def _share(self, step: int) -> float:
        """Of the radius, that a step goes."""
        falling = 0.5 * (1 + math.cos(math.pi * step / self.schedule.steps))
        return falling if self.schedule.step is None else self.schedule.step

    def _start(self) -> Tensor:
        """The first radius of each image: the margin over its slope, or the schedule's."""
        correct, first = self.probe.correct, torch.full_like(self.best, self.schedule.start or self.top)
        if self.schedule.start is None and correct.any():
            look = restricted(self.probe, correct, self.probe.batch.image[correct])
            slope = look.gradient("margin").flatten(1).double().norm(1 if self.norm == "linf" else 2, dim=1)
            first[correct] = (look.margin / slope).clamp(self.top / 2**10, self.top)
            self.passes += correct.double()
        return first
