"""Attacks: images that a model gets wrong, within a ball around the ones it was given.

An attack is a function ``(evaluate, image, noise, **parameters) -> image``; ``evaluate`` maps images
to ``(value (B,), gradient (B, C, H, W))`` of what is to be raised, and ``noise`` maps a shape to
uniform numbers in [0, 1) that belong to the images. It never sees a model or a probe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from gradlens._randomness import image_uniform
from gradlens._registry import attack as registry
from gradlens._registry import parse_spec

if TYPE_CHECKING:
    from gradlens._probe import Probe


def attack(probe: Probe, name: str = "pgd", objective: str = "loss", **parameters: float | str) -> Probe:
    """The probe at attacked images: ``attack(probe, "pgd", norm="linf", eps=4/255).correct``.

    Raises the registered objective of every image; parameters are those of the attack.
    """

    def evaluate(image: Tensor) -> tuple[Tensor, Tensor]:
        look = probe.at(image)
        direction, scale = look.scaled_gradient(objective)
        # A step follows the direction only, so the scale that could underflow is left out.
        return look.value(objective), direction * (scale > 0).view(-1, 1, 1, 1)

    def noise(shape: tuple[int, ...]) -> Tensor:
        return image_uniform(probe.seed, probe.batch.index, f"attack/{parse_spec(name)[0]}", shape)

    return probe.at(registry.build(name)(evaluate, probe.batch.image, noise, **parameters))
