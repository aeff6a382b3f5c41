from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gradlens._registry import attack
from gradlens._types import UserError


@attack
def pgd(
    evaluate: Callable[[Tensor], tuple[Tensor, Tensor]],
    image: Tensor,
    noise: Callable[[tuple[int, ...]], Tensor],
    norm: str = "linf",
    eps: float = 4 / 255,
    steps: int = 10,
    step_size: float | None = None,
    random_start: bool = True,
) -> Tensor:
    """Projected gradient ascent (Madry et al. 2018), keeping each image's worst iterate.

    eps and step_size are in pixels of images in [0, 1]; step_size defaults to ``2.5 eps / steps``.
    Returns images in [0, 1] within eps of the given ones in ``linf`` or ``l2``.
    """
    if norm not in ("linf", "l2"):
        raise UserError(f"unknown norm '{norm}' of pgd; there are: linf, l2")
    if not 0 <= eps <= (1 if norm == "linf" else torch.inf):
        raise UserError(f"eps is {eps:g}; wanted a radius in pixels of [0, 1], such as 4/255")
    size = 2.5 * eps / max(steps, 1) if step_size is None else step_size
    project, direction = (_clip, torch.sign) if norm == "linf" else (_rescale, _unit)
    start = (2 * noise(image.shape[1:]) - 1).to(image) * eps if random_start else torch.zeros_like(image)
    current = (image + project(start, eps)).clamp(0, 1)
    worst, worst_value = image, evaluate(image)[0]
    for step in range(steps + 1):
        value, gradient = evaluate(current)
        better = value > worst_value
        worst = torch.where(better.view(-1, 1, 1, 1), current, worst)
        worst_value = torch.where(better, value, worst_value)
        if step < steps:
            moved = current + size * direction(gradient)
            current = (image + project(moved - image, eps)).clamp(0, 1)
    return worst


def _clip(delta: Tensor, eps: float) -> Tensor:
    return delta.clamp(-eps, eps)


def _rescale(delta: Tensor, eps: float) -> Tensor:
    length = delta.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
    return delta * (eps / length).clamp(max=1)


def _unit(gradient: Tensor) -> Tensor:
    return gradient / gradient.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
