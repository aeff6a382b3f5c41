"""Steps along the gradient: one of FGSM, many of PGD."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlens.core.registry import attack
from gradlens.core.types import UserError
from gradlens.probes.attacks._evaluate import Ball, Evaluate, Noise


@attack
def pgd(
    evaluate: Evaluate,
    image: Tensor,
    noise: Noise,
    norm: str = "linf",
    eps: float | Tensor = 4 / 255,
    steps: int = 10,
    step_size: float | None = None,
    random_start: bool = True,
    restarts: int = 1,
    keep_worst: bool = True,
) -> Tensor:
    """Projected gradient ascent (Madry et al. 2018), keeping each image's worst iterate of all restarts.

    eps (one radius, or one for each image) and step_size are in pixels of images in [0, 1]; step_size
    defaults to ``2.5 eps / steps``. Each restart begins at noise of its own. ``keep_worst=False`` returns
    the last iterate, as adversarial training does, and saves its two forward passes.
    Returns images in [0, 1] within eps of the given ones in ``linf`` or ``l2``.
    """
    if restarts != 1 and not (restarts > 1 and random_start and keep_worst):
        raise UserError(f"restarts={restarts} of pgd; wanted 1, or more with random_start=true and keep_worst=true")
    ball = Ball(image, norm, eps)
    if steps < 0:
        raise UserError(f"an attack of {steps} steps is none; give at least 1")
    if step_size is not None and not 0 <= step_size < torch.inf:
        raise UserError(f"step_size={step_size:g} of pgd; wanted a length in pixels of [0, 1], such as 2/255")
    size = 2.5 * ball.eps / max(steps, 1) if step_size is None else step_size
    current, worst = image, _Worst(image, evaluate.value(image) if keep_worst else None)
    for restart in range(restarts):
        current = ball.start(noise, restart) if random_start else image
        for _ in range(steps):
            value, gradient = evaluate(current)
            worst.see(current, value)
            current = ball.nearest(current + size * ball.steepest(gradient))
        if keep_worst:
            worst.see(current, evaluate.value(current))
    return worst.image if keep_worst else current


class _Worst:
    """Each image's iterate of the largest value so far."""

    def __init__(self, image: Tensor, value: Tensor | None):
        self.image, self.value = image, value

    def see(self, image: Tensor, value: Tensor) -> None:
        if self.value is None:
            return
        better = value > self.value
        self.image = torch.where(better.view(-1, 1, 1, 1), image, self.image)
        self.value = torch.where(better, value, self.value)


@attack
def fgsm(
    evaluate: Evaluate,
    image: Tensor,
    noise: Noise,
    norm: str = "linf",
    eps: float | Tensor = 4 / 255,
    step_size: float | None = None,
    random_start: bool = False,
) -> Tensor:
    """One step along the gradient's sign (Goodfellow et al. 2015), to the rim of the ball.

    ``random_start=True`` is the recipe of fast adversarial training (Wong et al. 2020): the gradient at
    uniform noise of up to eps, a step of 1.25 eps from there, back into the ball. eps (one radius, or
    one for each image) and step_size are in pixels of images in [0, 1]. The one gradient is all that it
    costs; that the step gains is not checked. Returns images in [0, 1] within eps of the given ones.
    """
    ball = Ball(image, norm, eps)
    start = ball.start(noise) if random_start else image
    size = (1.25 if random_start else 1) * ball.eps if step_size is None else step_size
    _, gradient = evaluate(start)
    return ball.nearest(start + size * ball.steepest(gradient))
