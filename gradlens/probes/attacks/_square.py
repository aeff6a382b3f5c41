from __future__ import annotations

import torch
from torch import Tensor

from gradlens.core.registry import attack
from gradlens.core.types import UserError
from gradlens.probes.attacks._evaluate import Ball, Evaluate, Noise

# Of 10,000 queries, those after which the squares' area is halved.
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


@attack
def square(
    evaluate: Evaluate,
    image: Tensor,
    noise: Noise,
    eps: float | Tensor = 4 / 255,
    queries: int = 1000,
    area: float = 0.8,
) -> Tensor:
    """Random search over squares in L∞, from values alone (Square attack, Andriushchenko et al. 2020).

    Starts from vertical stripes of ±eps; each query puts ±eps a channel into a random square and keeps
    it where the value rises. area: the share of the image in the first square, halved on the paper's
    schedule stretched to ``queries``; 0.8 as in AutoAttack. Needs no gradient, so what it breaks beyond
    a gradient attack shows that gradients mislead. An image's squares depend on nothing but the image.
    eps: one radius in pixels of images in [0, 1], or one for each image. Returns images in [0, 1].
    """
    if queries < 1 or not 0 < area <= 1:
        raise UserError(f"queries={queries}, area={area:g} of square; wanted at least 1 and an area in (0, 1]")
    ball, (channels, height, width) = Ball(image, "linf", eps), image.shape[1:]
    stripes = _signs(noise((channels, 1, width), 0)).to(image)
    current = ball.nearest(image + ball.eps * stripes)
    clean, value = evaluate.value(image), evaluate.value(current)
    draws = noise((queries, 2 + channels), 1).to(image)
    for query in range(1, queries):
        side = _side(area, query / queries, height, width)
        corner, signs = draws[:, query, :2], _signs(draws[:, query, 2:])[:, :, None, None]
        inside = (
            _inside(corner[:, 0], height, side)[:, None, :, None] & _inside(corner[:, 1], width, side)[:, None, None]
        )
        moved = torch.where(inside, ball.nearest(image + ball.eps * signs), current)
        found = evaluate.value(moved)
        better = found > value
        current = torch.where(better.view(-1, 1, 1, 1), moved, current)
        value = torch.where(better, found, value)
    return torch.where((value > clean).view(-1, 1, 1, 1), current, image)


def _signs(uniform: Tensor) -> Tensor:
    return torch.where(uniform < 0.5, -1.0, 1.0).to(uniform)


def _side(area: float, done: float, height: int, width: int) -> int:
    """The squares' side in pixels when a share of the queries is done."""
    halved = area / 2 ** sum(10_000 * done > step for step in HALVINGS)
    return min(max(round((halved * height * width) ** 0.5), 1), height, width)


def _inside(uniform: Tensor, length: int, side: int) -> Tensor:
    """Which of ``length`` places a random window covers, ``(B, length)``."""
    start = (uniform * (length - side + 1)).floor()[:, None]
    place = torch.arange(length, device=uniform.device)
    return (place >= start) & (place < start + side)
