from __future__ import annotations

from gradlens.core.registry import penalty
from gradlens.core.types import UserError
from gradlens.probes.forward import Values
from gradlens.probes.probe import Probe
from gradlens.training.penalties._gradnorm import check_radius


@penalty
def gradnorm_channel(
    probe: Probe, red: float = 1.0, green: float = 2.0, blue: float = 1.0, eps: float = 4 / 255
) -> Values:
    """``ε Σ_c w_c ‖∇_x loss‖₁`` over the pixels of channel c, ``(B,)`` in nats.

    With weights of one it is ``gradnorm``. Source: Rodríguez-Muñoz et al. 2024, their code's DBPChannel,
    whose weights are the preset. Needs RGB images.
    """
    check_radius(eps)
    per_channel = probe.gradient("loss").abs().sum((2, 3))
    if per_channel.shape[1] != 3:
        raise UserError(
            f"gradnorm_channel weighs R, G and B; the images have {per_channel.shape[1]} channels; use gradnorm"
        )
    return eps * (per_channel * per_channel.new_tensor((red, green, blue))).sum(1)
