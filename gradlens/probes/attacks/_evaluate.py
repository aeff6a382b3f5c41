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
    given: the probe at the images as they were given, whose forward pass need not be run again.
    """

    def __init__(self, look: Callable[[Tensor], Probe], objective: str = "loss", given: Probe | None = None):
        self._look, self.objective, self._given = look, objective.removeprefix("-"), given
        self._sign = -1 if objective.startswith("-") else 1

    def value(self, image: Tensor) -> Tensor:
        """``(B,)`` float64, from a forward pass that keeps nothing for a gradient."""
        if self._given is not None and image is self._given.batch.image:
            return self._sign * self._given.value(self.objective)
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
        most = pixel_range(image, norm)
        if not ((radius >= 0) & (radius <= most)).all():
            raise UserError(
                f"eps is {float(radius.max()):g}; wanted a radius in pixels of [0, 1], such as 4/255, and at most "
                f"{most:g} in {norm}"
            )
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

    def check(self, image: Tensor, who: str) -> None:
        """Refuse images outside of the ball or of [0, 1] by more than rounding, which would count as broken within."""
        far = self.distance(image) - self.eps.flatten()
        # A difference of pixels rounds by their precision, a sum of a million squares relative to its size.
        over = far > max(1e-6, 4 * torch.finfo(image.dtype).eps) + (
            1e-5 * self.eps.flatten() if self.norm == "l2" else 0
        )
        if over.any() or image.min() < 0 or image.max() > 1:
            where = f"{float(far.max()):.2g} outside of its {self.norm} ball" if over.any() else "outside of [0, 1]"
            raise UserError(f"{who} left its ball: an image is {where}; end the attack with Ball(…).nearest(image)")

    def distance(self, image: Tensor) -> Tensor:
        """How far images are from the given ones, ``(B,)``."""
        return distance(image - self.image, self.norm)

    def steepest(self, gradient: Tensor) -> Tensor:
        """The direction of unit norm that gains most to first order."""
        return gradient.sign() if self.norm == "linf" else gradient / _length(gradient)


def pixel_range(image: Tensor, norm: str) -> float:
    """How far two images of [0, 1] can be apart."""
    return 1.0 if norm == "linf" else image.shape[1:].numel() ** 0.5


def distance(delta: Tensor, norm: str) -> Tensor:
    """The norm of each perturbation, ``(B,)``."""
    return delta.flatten(1).norm(torch.inf if norm == "linf" else 2, dim=1)


def _length(delta: Tensor) -> Tensor:
    return distance(delta, "l2").clamp(min=1e-12).view(-1, 1, 1, 1)
