from __future__ import annotations

from gradlens.core.registry import penalty
from gradlens.probes.forward import Values
from gradlens.probes.probe import Probe
from gradlens.training.penalties._gradnorm import first_order_gain


@penalty
def gradnorm_hinge(probe: Probe, threshold: float = 0.001, norm: str = "linf", eps: float = 4 / 255) -> Values:
    """``max(0, ε ‖∇_x loss‖_* − threshold)``, ``(B,)`` in nats: ``gradnorm`` that leaves flat images alone.

    threshold in nats, per image; half a nat is usual of a trained network, so the preset hardly acts.
    Source: Rodríguez-Muñoz et al. 2024, their code's DBPThresholded.
    """
    return (first_order_gain(probe.gradient("loss"), norm, eps) - threshold).relu()
