from __future__ import annotations

from gradlens.core.registry import penalty
from gradlens.probes.forward import Values
from gradlens.probes.probe import Probe
from gradlens.training.penalties._gradnorm import first_order_gain


@penalty
def marginal_density(probe: Probe, norm: str = "linf", eps: float = 4 / 255) -> Values:
    """``ε ‖∇_x log Σ_k e^{f_k}‖_*``, ``(B,)`` in nats: how steep the model's own density of images is.

    Smooths the marginal density and knows no label, where ``gradnorm`` smooths the conditional one. norm and
    eps as in ``gradnorm``. Source: Yang et al. 2024, whose exponent and weight are not published; any dual
    norm can be had.
    """
    return first_order_gain(probe.gradient("logsumexp"), norm, eps)
