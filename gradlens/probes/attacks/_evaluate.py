"""What an attack may ask about images: values and their gradients, and nothing of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

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
