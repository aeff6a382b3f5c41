from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from gradlens._probe import Probe


class Evaluate:
    """What an attack may ask about images: the value of what it raises, alone or with its gradient.

    look: images ``(B, C, H, W)`` → a probe. objective: a registered one; ``-margin`` lowers it instead.
    """

    def __init__(self, look: Callable[[Tensor], Probe], objective: str = "loss"):
        self._look, self._name = look, objective.removeprefix("-")
        self._sign = -1 if objective.startswith("-") else 1

    def value(self, image: Tensor) -> Tensor:
        """``(B,)`` float64, from a forward pass that keeps nothing for a gradient."""
        look = self._look(image)
        # As a leaf that wants no gradient; the parameters are frozen.
        look.image = image.detach()
        return self._sign * look.value(self._name)

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The value ``(B,)`` and its gradient ``(B, C, H, W)``, whose size may differ from image to image."""
        look = self._look(image)
        direction, scale = look.scaled_gradient(self._name)
        # A step follows the direction only, so the scale that could underflow is left out.
        return self._sign * look.value(self._name), self._sign * direction * (scale > 0).view(-1, 1, 1, 1)
