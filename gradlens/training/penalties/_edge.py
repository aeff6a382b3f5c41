"""Gradients drawn to the edges, and kept away from all else."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gradlens.core.names import check_radius
from gradlens.core.registry import penalty
from gradlens.core.types import UserError
from gradlens.probes.forward import Values
from gradlens.probes.probe import Probe

FORMS = ("signed", "saliency")


@penalty
def edge(
    probe: Probe,
    target: str = "contour_energy",
    objective: str = "sampled_logit",
    form: str = "signed",
    batchwise: bool = True,
) -> Float[Tensor, ""] | Float[Tensor, "b"]:
    """Mean squared difference of gradient G and edge map E, both of unit RMS: ``2 (1 − cos(G, E))``, 0 … 4.

    0: G is the edges; 2: orthogonal to them; 4: their negative. It asks every channel of G to be positive on
    edges, and never constrains its size. Source: Rodríguez-Muñoz et al. 2024, EdgeReg, with the weight
    ``edge:alpha=1,step=.09,cap=10``.

    objective: whose gradient G is; the preset draws a class from ``softmax(f / 0.5)`` for each image, ``loss``
    is the paper's loss variant. form ``saliency``: the largest |G| over channels, their saliency variant.
    target: any registered edge map, such as ``sobel`` or ``canny:sigma=2``. batchwise, the preset and the
    paper's: RMS and cosine over the whole batch, so a scalar that images of steep gradient dominate; without it
    each image's own, ``(B,)``. An image without gradient or without edges counts as orthogonal.
    """
    if form not in FORMS:
        raise UserError(f"unknown form '{form}' of edge; there are: {', '.join(FORMS)}")
    gradient, edges = probe.gradient(objective), probe.edges(target)
    if form == "saliency":
        gradient = gradient.abs().amax(1, keepdim=True)
    over = (0, 1, 2, 3) if batchwise else (1, 2, 3)
    norms = [torch.linalg.vector_norm(values, dim=over) for values in (gradient, edges)]
    # The edges stand in every channel of the gradient.
    size = norms[0] * norms[1] * gradient.shape[1] ** 0.5
    return 2 - 2 * (gradient * edges).sum(over) / torch.where(size > 0, size, 1)


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
