from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary, means, medians
from gradlens.core.names import check_radius, unknown
from gradlens.core.registry import analyzer
from gradlens.core.seeds import image_normal
from gradlens.core.types import UserError
from gradlens.probes.attacks import Ball, noise_of
from gradlens.probes.exact import in_float64
from gradlens.probes.forward import Images, Values
from gradlens.probes.probe import Probe

ESTIMATORS = ("ascent", "yang2020")
# Of eps; of the radii between two of them each is so much below the last.
SHARES = (1.0, 0.3, 0.1, 0.03, 0.01)
CLOSER, FEW_STEPS = 0.8, 3


@analyzer
@dataclass(frozen=True)
class LocalLipschitz(Analyzer):
    """How steep the logits are near the image: the largest ``‖f(x) − f(x′)‖₁ / ‖x − x′‖∞`` found within eps.

    ``local_lipschitz``, in logits per unit pixel: by sign ascent on the numerator in balls of 1, 0.3, 0.1, 0.03
    and 0.01 of ``eps`` (L∞, within [0, 1]), ``steps`` steps from each of ``restarts`` starts, and from the best
    in ``between`` balls after each; the best ratio in float64. It is a lower bound of the local constant, for
    many classes one of several local maxima. It costs some 250 gradients an image. ``local_lipschitz_scaled``:
    that over the image's ``|margin|``, per unit pixel, since twice the logits are twice as steep and decide the
    same; compare models by it. Low: predictions are stable; networks that are flat everywhere are also wrong.

    estimator ``yang2020``: their published procedure as it is, which steps *down* the ratio's gradient ten times
    by 0.003 and reports the last point; on a linear network it finds a few percent of the constant.
    Source: Yang et al. 2020.
    """

    readings = (
        Reading("local Lipschitz, mean", "local_lipschitz_mean", "logits per unit pixel, L1 over L∞; at least"),
        Reading("   over the margin, median", "local_lipschitz_scaled_median", "per unit pixel; low is stable"),
    )
    # For tests, which cannot wait for the best of all starts.
    cheap: ClassVar[str] = "steps=1,restarts=1,between=0"

    estimator: str = "ascent"
    eps: float = 4 / 255
    steps: int = 5
    restarts: int = 5
    between: int = 5

    def __post_init__(self) -> None:
        check_radius(self.eps)
        if self.estimator not in ESTIMATORS:
            raise UserError(unknown("estimator of local_lipschitz", self.estimator, ESTIMATORS))
        if self.steps < 1 or self.restarts < 1:
            raise UserError(f"local_lipschitz: steps={self.steps}, restarts={self.restarts}; wanted at least 1 of each")

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        found = yang2020(probe, self.eps) if self.estimator == "yang2020" else self._largest(probe)
        columns = {"local_lipschitz": found, "local_lipschitz_scaled": found / probe.margin.abs()}
        return {name: torch.where(probe.predicted, values, torch.nan) for name, values in columns.items()}

    def _largest(self, probe: Probe) -> Values:
        exact, image = in_float64(probe), probe.batch.image
        logits, found = exact(image), image
        best = torch.zeros_like(logits[:, 0])
        for place, radius in enumerate(share * self.eps for share in SHARES):
            # A shorter chord is sought first where the longer one was.
            chords = [_climbed(probe, _stretched(image, found, radius), radius, self.steps)] if place else []
            for restart in range(len(chords), self.restarts):
                uniform = noise_of(probe, "local_lipschitz")(image.shape[1:], self.restarts * place + restart)
                chords.append(_climbed(probe, image + radius * (2 * uniform.to(image) - 1), radius, self.steps))
            found = _steepest(chords).image
            for _ in range(self.between):
                # Where a network saturates, the steepest chord has a length of its own, which the radii may straddle.
                radius *= CLOSER
                chords.append(_climbed(probe, _stretched(image, found, radius), radius, FEW_STEPS))
                found = chords[-1].image
            far = _steepest(chords).image
            best = best.maximum((exact(far) - logits).abs().sum(1) / _apart(far.double(), image.double()))
        return best

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Means and medians with 95 % intervals."""
        names = ("local_lipschitz", "local_lipschitz_scaled")
        return Summary(means(samples, names) | medians(samples, names))


class Chord(NamedTuple):
    """Other images ``(B, C, H, W)``, and by what float32 tells how much the logits differ for their distance."""

    image: Images
    ratio: Values


def _climbed(probe: Probe, start: Images, radius: float, steps: int) -> Chord:
    """The steepest chord on the way uphill within a radius."""
    image, logits = probe.batch.image, probe.logits.detach()
    ball = Ball(image, "linf", radius)
    best, current = Chord(image, torch.full_like(logits[:, 0], -1)), ball.nearest(start)
    for step in range(steps + 1):
        look = probe.at(current)
        moved = look.logits.detach() - logits
        best = _steepest([best, Chord(current, moved.abs().sum(1) / _apart(current, image))])
        # The numerator's gradient alone: the ratio's own pulls the farthest pixel back.
        uphill = look.pulled_back(moved.sign(), last=True).sign()
        # At first across the whole ball, which is the fixed-point iteration of a linear network's norm.
        current = ball.nearest(current + 2 * radius * (1 - step / steps) * uphill)
    return best


def _steepest(chords: Sequence[Chord]) -> Chord:
    """The first of the largest ratio, image by image."""
    best, *others = chords
    for other in others:
        better = other.ratio > best.ratio
        images = torch.where(better.view(-1, 1, 1, 1), other.image, best.image)
        best = Chord(images, torch.where(better, other.ratio, best.ratio))
    return best


def _stretched(image: Images, far: Images, radius: float) -> Images:
    """The images in the same direction at a distance of ``radius``."""
    return image + (far - image) * (radius / _apart(far, image)).view(-1, 1, 1, 1)


def _apart(one: Images, other: Images) -> Values:
    """``‖x − x′‖∞``."""
    return (one - other).flatten(1).abs().amax(1)


def yang2020(probe: Probe, eps: float) -> Values:
    """Their code's number of each image: start, steps, sign, clipping and the last iterate as published."""
    image, logits = probe.batch.image, probe.logits.detach()
    noise = image_normal(probe.seed, probe.batch.index, "local_lipschitz/yang2020", tuple(image.shape[1:]))
    current, ball = image + 0.001 * noise.to(image), Ball(image, "linf", eps)
    for _ in range(10):
        look = probe.at(current)
        (downhill,) = torch.autograd.grad(-_ratio(look, image, logits).sum(), look.image)
        current = ball.nearest(current + 0.003 * downhill.sign())
    return _ratio(probe.at(current), image, logits).detach().double()


def _ratio(look: Probe, image: Images, logits: Tensor) -> Values:
    return (logits - look.logits).abs().sum(1) / _apart(image + 1e-6, look.image)
