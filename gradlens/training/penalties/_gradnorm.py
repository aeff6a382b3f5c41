from __future__ import annotations

from gradlens.core.registry import penalty
from gradlens.probes.probe import Probe
from gradlens.training.penalties._norms import Values, first_order_gain


@penalty
def gradnorm(probe: Probe, norm: str = "linf", eps: float = 4 / 255) -> Values:
    """``ε ‖∇_x loss‖_*``, ``(B,)`` in nats: what an attack of size ε gains to first order.

    norm: the attack's, ``linf l2 l1``; the gradient's norm is its dual, L1 for ``linf``. eps: its radius, in
    pixels of images in [0, 1] measured in that norm. High: small changes of pixels change the loss much;
    0: none does. Source: Rodríguez-Muñoz et al. 2024, GradNorm, whose ``B · ε / σ`` undoes a mean over the
    batch and a normalisation that our gradients do not have. Their recipe: ``gradnorm:alpha=0,step=.24,cap=1.2``
    beside 0.8 of the cross-entropy.
    """
    return first_order_gain(probe.gradient("loss"), norm, eps)
