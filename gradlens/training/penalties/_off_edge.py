from __future__ import annotations

from gradlens.core.registry import penalty
from gradlens.probes.forward import Values
from gradlens.probes.probe import Probe
from gradlens.training.penalties._gradnorm import check_radius


@penalty
def off_edge(probe: Probe, target: str = "canny", objective: str = "loss", eps: float = 4 / 255) -> Values:
    """``ε Σ_p (1 − m_p) Σ_c |g_cp|``, ``(B,)`` in nats: ``gradnorm`` that spares the edges.

    m is the edge map over its largest value, 1 on the strongest edge; an image without edges pays for all
    of its gradient. target: any registered edge map. 0: all of the gradient is on edges; as large as
    ``gradnorm``: none of it. Source: the L1 norm weighted by ``1 − p(edge)`` that Rodríguez-Muñoz et al. 2024
    keep in their code, switched off.
    """
    check_radius(eps)
    edges = probe.edges(target)
    strongest = edges.amax((1, 2, 3), keepdim=True)
    spared = edges / strongest.where(strongest > 0, 1)
    return eps * ((1 - spared) * probe.gradient(objective).abs()).sum((1, 2, 3))
