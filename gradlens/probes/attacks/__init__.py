"""Attacks: images that a model gets wrong, within a ball around the ones it was given.

An attack is a function ``(evaluate, image, noise, **parameters) -> image``. ``evaluate(image)`` is
``(value (B,), gradient (B, C, H, W))`` of what is to be raised, ``evaluate.value(image)`` the value
alone; ``noise(shape, draw)`` gives uniform numbers in [0, 1) ``(B, *shape)`` that belong to the images,
others for each draw. An attack never sees a model or a probe.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from gradlens.core.names import parse_spec
from gradlens.core.registry import attack as registry
from gradlens.core.seeds import image_uniform
from gradlens.core.types import UserError
from gradlens.probes.attacks._evaluate import NORMS, Ball, Evaluate, pixel_range

if TYPE_CHECKING:
    from gradlens.probes.probe import Probe

__all__ = ["NORMS", "Ball", "Evaluate", "attack", "noise_of", "pixel_range"]


def attack(
    probe: Probe, name: str = "pgd", objective: str = "loss", **parameters: float | str | Tensor | None
) -> Probe:
    """The probe at attacked images: ``attack(probe, "pgd", norm="linf", eps=4/255).correct``.

    Raises the registered objective of every image, or lowers it where its name follows a minus sign:
    ``objective="-margin"``. Parameters are those of the attack. What it returns is checked to lie in its ball.
    """
    noise = noise_of(probe, f"attack/{parse_spec(name)[0]}")
    image = probe.batch.image
    method = registry.build(name)
    found = method(Evaluate(probe.at, objective, probe), image, noise, **parameters)
    if not isinstance(found, Tensor) or found.shape != image.shape or not found.isfinite().all():
        what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"
        what = "values that are not finite" if what == f"shape {tuple(image.shape)}" else what
        raise UserError(f"attack '{name}' returned {what}; wanted images {tuple(image.shape)} in [0, 1]")
    defaults = {key: one.default for key, one in inspect.signature(method).parameters.items()}
    stated = {**defaults, **parameters}
    if "eps" in stated and (norm := stated.get("norm", "linf")) in NORMS:
        Ball(image, norm, stated["eps"]).check(found, f"attack '{name}'")
    return probe.at(found)


def noise_of(probe: Probe, purpose: str) -> Callable[..., Tensor]:
    """Uniform numbers of a probe's images by shape and draw, the same whatever their batch."""

    def noise(shape: tuple[int, ...], draw: int = 0) -> Tensor:
        return image_uniform(probe.seed, probe.batch.index, f"{purpose}/{draw}" if draw else purpose, shape)

    return noise
