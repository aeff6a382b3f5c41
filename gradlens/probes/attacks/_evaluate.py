"""What an attack may ask about images, which is values and gradients, and the balls that it stays in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gradlens.core.types import UserError

if TYPE_CHECKING:
    from gradlens.probes.probe import Probe


class Evaluate:
    """What an attack may ask about images: the value of what it raises, alone or with its gradient.

    look: images ``(B, C, H, W)`` → a probe. objective: a registered one; ``-margin`` lowers it instead.
    """

    def __init__(self, look: Callable[[Tensor], Probe], objective: str = "loss"):
        self._look, self.objective = look, objective.removeprefix("-")
        self._sign = -1 if objective.startswith("-") else 1

    def value(self, image: Tensor) -> Tensor:
        """``(B,)`` float64, from a forward pass that keeps nothing for a gradient."""
        look = self._look(image)
        # As a leaf that wants no gradient; the parameters are frozen.
        look.image = image.detach()
        return self._sign * look.value(self.objective)

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The value ``(B,)`` and its gradient ``(B, C, H, W)``, whose size may differ from image to image."""
        look = self._look(image)
        direction, scale = look.scaled_gradient(self.objective)
        # A step follows the direction only, so the scale that could underflow is left out.
        return self._sign * look.value(self.objective), self._sign * direction * (scale > 0).view(-1, 1, 1, 1)

    def target(self, image: Tensor) -> Tensor:
        """The labels ``(B,)`` that the images are to lose."""
        return self._look(image).target

    def logits(self, image: Tensor) -> Tensor:
        """``(N, K)`` of any images, attached to them where they want a gradient: what other packages attack."""
        return _Logits.apply(image, self._look)


class _Logits(torch.autograd.Function):
    """A probe's logits as a function of the image."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, look: Callable[[Tensor], Probe]) -> Tensor:
        ctx.look = look(image)
        if not image.requires_grad:
            ctx.look.image = image.detach()
        return ctx.look.logits.detach()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None]:
        (gradient,) = torch.autograd.grad(ctx.look.logits, ctx.look.image, cotangent, retain_graph=True)
        return gradient, None


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
