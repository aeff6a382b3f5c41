"""Gradients drawn to the edges, or to what is none, and kept away from all else."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gradlens.core.names import check_radius, unknown
from gradlens.core.registry import edge_map, penalty
from gradlens.core.seeds import image_uniform
from gradlens.core.types import UserError
from gradlens.probes.edges import edge_map_of
from gradlens.probes.forward import Images, Values
from gradlens.probes.probe import Probe
from gradlens.training.penalties._gradnorm import normalisation

FORMS = ("signed", "saliency")
# Those that are learnt from training images, and all.
FITTED = ("other", "mean")
TEACHERS = ("own", *FITTED, "noise", "flat")
NOISE_SCALE = 4


@penalty
@dataclass
class Edge:
    """Mean squared difference of gradient G and edge map E, both of unit RMS: ``2 (1 − cos(G, E))``, 0 … 4.

    0: G is the edges; 2: orthogonal to them; 4: their negative. It asks every channel of G to be positive on
    edges, and never constrains its size. Source: Rodríguez-Muñoz et al. 2024, EdgeReg, with the weight
    ``edge:alpha=1,step=.09,cap=10``.

    objective: whose gradient G is; the preset draws a class from ``softmax(f / 0.5)`` for each image, ``loss``
    is the paper's loss variant. form ``saliency``: the largest |G| over channels, their saliency variant.
    map: any registered edge map, such as ``sobel`` or ``canny:sigma=2``. batchwise, the preset and the
    paper's: RMS and cosine over the whole batch, so a scalar that images of steep gradient dominate; without it
    each image's own, ``(B,)``. An image without gradient or without edges counts as orthogonal. space
    ``normalized``: G and E of the network's normalised input, as in the paper.

    target: the image's ``own`` map, or a counterfactual teacher at the same weight, which tells what the edges
    have to do with the outcome: the map of an ``other`` training image, the ``mean`` map of training images (both of
    256, without augmentation), smooth ``noise``, or ``flat``, a constant. What an image is given is drawn from its
    index, and stays over epochs. The name of an edge map is short for the image's own.
    """

    target: str = "own"
    map: str = "contour_energy"
    objective: str = "sampled_logit"
    form: str = "signed"
    batchwise: bool = True
    space: str = "pixel"
    _bank: Tensor | None = field(default=None, init=False, repr=False)
    _index: Tensor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise UserError(f"unknown form '{self.form}' of edge; there are: {', '.join(FORMS)}")
        if self.target not in TEACHERS:
            if self.target.partition(":")[0] not in edge_map:
                raise UserError(unknown("edge map or target of edge", self.target, [*TEACHERS, *edge_map]))
            self.target, self.map = "own", self.target

    @property
    def fits(self) -> bool:
        """Whether it learns from training images, by ``fit``."""
        return self.target in FITTED

    def fit(self, pilot: Probe) -> None:
        """Add the maps of some training images to those that a teacher is made of."""
        maps, index = self._map(pilot), pilot.batch.index.to(pilot.batch.image.device)
        self._bank = maps if self._bank is None else torch.cat([self._bank, maps])
        self._index = index if self._index is None else torch.cat([self._index, index])

    def __call__(self, probe: Probe) -> Float[Tensor, ""] | Float[Tensor, "b"]:
        gradient, edges = probe.gradient(self.objective), self._teacher(probe)
        gradient = gradient * normalisation(probe, self.space)[1]
        if self.form == "saliency":
            gradient = gradient.abs().amax(1, keepdim=True)
        over = (0, 1, 2, 3) if self.batchwise else (1, 2, 3)
        norms = [torch.linalg.vector_norm(values, dim=over) for values in (gradient, edges)]
        # The edges stand in every channel of the gradient.
        size = norms[0] * norms[1] * gradient.shape[1] ** 0.5
        return 2 - 2 * (gradient * edges).sum(over) / torch.where(size > 0, size, 1)

    def _map(self, probe: Probe) -> Images:
        if self.space == "pixel":
            return probe.edges(self.map)
        mean, std = normalisation(probe, self.space)
        seen = (probe.batch.image - mean) / std
        return probe.once(("edges, normalised", self.map), lambda: edge_map_of(seen, self.map))

    def _teacher(self, probe: Probe) -> Images:
        if self.target == "own":
            return self._map(probe)
        image, index = probe.batch.image, probe.batch.index
        if self.target == "flat":
            return torch.ones_like(image[:, :1])
        if self.target == "noise":
            coarse = image_uniform(0, index, "edge/noise", (1, *(-(-s // NOISE_SCALE) for s in image.shape[2:])))
            return F.interpolate(coarse.to(image), image.shape[2:], mode="bilinear")
        if self._bank is None or len(self._bank) < 2:
            raise UserError(
                f"edge:target={self.target} takes its maps from training images; train with it, or call its fit first"
            )
        if self.target == "mean":
            return self._bank.mean(0, keepdim=True).expand(len(image), -1, -1, -1)
        return self._bank[self._others(index)]

    def _others(self, index: Tensor) -> Tensor:
        """A row of the bank for each image, drawn from its index alone, that is not its own."""
        assert self._index is not None
        count = len(self._index)
        rows = (image_uniform(0, index, "edge/other") * count).long().to(self._index.device)
        return torch.where(self._index[rows] == index.to(rows.device), (rows + 1) % count, rows)


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
