from __future__ import annotations

from torch import Tensor

from gradlens.core.registry import attack
from gradlens.probes.attacks._ball import Ball, Noise
from gradlens.probes.attacks._evaluate import Evaluate


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
