"""The balls that attacks stay in: projection, and steps of equal length."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gradlens.core.types import UserError

NORMS = ("linf", "l2")
Noise = Callable[..., Tensor]


class Ball:
    """The images within ``eps`` of the given ones, in ``linf`` or ``l2``, that stay in [0, 1].

    eps is in pixels of [0, 1]: one radius, or one for each image ``(B,)``.
    """

    def __init__(self, image: Tensor, norm: str, eps: float | Tensor):
        if norm not in NORMS:
            raise UserError(f"unknown norm '{norm}' of an attack; there are: {', '.join(NORMS)}")
        radius = torch.as_tensor(eps, dtype=torch.float64)
        if not ((radius >= 0) & (radius <= (1 if norm == "linf" else torch.inf))).all():
            raise UserError(f"eps is {float(radius.max()):g}; wanted a radius in pixels of [0, 1], such as 4/255")
        self.image, self.norm = image, norm
        self.eps = radius.to(image).reshape(-1, 1, 1, 1)

    def nearest(self, image: Tensor) -> Tensor:
        """Images moved into the ball and into [0, 1]."""
        delta = image - self.image
        if self.norm == "linf":
            delta = delta.minimum(self.eps).maximum(-self.eps)
        else:
            delta = delta * (self.eps / _length(delta)).clamp(max=1)
        return (self.image + delta).clamp(0, 1)

    def start(self, noise: Noise, draw: int = 0) -> Tensor:
        """Images moved by uniform noise of up to eps a pixel, brought back into the ball."""
        uniform = noise(self.image.shape[1:], draw).to(self.image)
        return self.nearest(self.image + (2 * uniform - 1) * self.eps)

    def steepest(self, gradient: Tensor) -> Tensor:
        """The direction of unit norm that gains most to first order."""
        return gradient.sign() if self.norm == "linf" else gradient / _length(gradient)


def _length(delta: Tensor) -> Tensor:
    return delta.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
