from __future__ import annotations

from torch import Tensor

from gradlens.core.names import check_radius
from gradlens.core.registry import penalty
from gradlens.core.seeds import image_uniform
from gradlens.core.types import UserError
from gradlens.probes.forward import Images, Values
from gradlens.probes.objectives.logits import loss
from gradlens.probes.probe import Probe


@penalty
def llr(probe: Probe, eps: float = 4 / 255, steps: int = 2, slope: float = 0.75) -> Values:
    """``|l(x + δ) − l(x) − δ·∇l| + slope |δ·∇l|``, ``(B,)`` in nats: how far the loss is from its tangent.

    δ: within eps (L∞, without the limits of pixels), where the first term is largest after ``steps`` sign
    steps of eps / 2 from noise that belongs to the image. 0: the loss is flat, and a gradient says all of it.
    Their recipe: ``llr:alpha=4,eps=8/255``, of which slope is μ / λ = 3 / 4. Source: Qin et al. 2019; the code of
    Yang et al. 2020 leaves the linear term out by mistake.
    """
    check_radius(eps)
    if steps < 1:
        raise UserError(f"llr takes {steps} steps; give at least 1")
    gradient = probe.gradient("loss")
    delta = _least_linear(probe, gradient.detach(), eps, steps)
    foretold = (delta * gradient).sum((1, 2, 3))
    return (_gain(probe, probe.at(probe.batch.image + delta)) - foretold).abs() + slope * foretold.abs()


def _least_linear(probe: Probe, gradient: Images, eps: float, steps: int) -> Images:
    image = probe.batch.image
    uniform = image_uniform(probe.seed, probe.batch.index, "llr", tuple(image.shape[1:]))
    delta = eps * (2 * uniform.to(image) - 1)
    for _ in range(steps):
        look = probe.at(image + delta)
        defect = _gain(probe, look).detach() - (delta * gradient).sum((1, 2, 3))
        uphill = defect.sign().view(-1, 1, 1, 1) * (look.gradient("loss").detach() - gradient)
        delta = (delta + eps / 2 * uphill.sign().to(delta)).clamp(-eps, eps)
    return delta


def _gain(probe: Probe, there: Probe) -> Tensor:
    """``l(x + δ) − l(x)``, in float64, or it would lose what the logits still have."""
    near, far = (loss(look.logits.double(), probe.target) for look in (probe, there))
    return far - near
