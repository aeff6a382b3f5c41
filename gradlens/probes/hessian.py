"""Second derivatives by the image: products with directions, the spectral norm, and where there is none."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.autograd import grad
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradlens.core.seeds import image_normal
from gradlens.core.surroundings import undisturbed
from gradlens.models.watching import measuring
from gradlens.probes.forward import Images, Values
from gradlens.probes.probe import Probe

LINEAR = (
    "the network is piecewise linear: its second derivative is zero or not defined, and all its curvature lies in kinks"
)
ROUNDING = 1e-5


class Spectral(NamedTuple):
    """What a power iteration found of each image: ``‖H u‖``, the steps that it took, and whether it converged."""

    norm: Values
    steps: Int[Tensor, "b"]
    converged: Bool[Tensor, "b"]


class Hessian:
    """``H_b = ∂² objective_b / ∂ image_b²`` of each image of a probe, in units of ``scale`` ``(B,)``.

    As a gradient's, a confident image's Hessian would underflow, so the objective's derivative by the logits
    is formed in float64 and scaled before the network is differentiated through. ``value``: the objective ``(B,)``.
    """

    def __init__(self, probe: Probe, of: str = "loss"):
        self._image = probe.batch.image.detach().clone().requires_grad_()
        # Fused attention has no second derivative.
        with measuring(probe.network), sdpa_kernel(SDPBackend.MATH):
            self._network, self._logits = probe.network, probe.network(self._image)
            exact = self._logits.double()
            value = probe._value(of, exact)
            self.value = value.detach()
            (cotangent,) = grad(value.sum(), exact, create_graph=True)
            size = cotangent.detach().abs().amax(1)
            self.scale = torch.where(size > 0, size, 1.0)
            self._gradient = self._pulled(cotangent / self.scale[:, None])
        self._start = image_normal(probe.seed, probe.batch.index, "hessian", tuple(self._image.shape[1:]))

    @property
    def gradient(self) -> Images:
        """The objective's gradient over ``scale``, ``(B, C, H, W)``."""
        return self._gradient.detach()

    def noise(self) -> Images:
        """A Gaussian direction of unit length that belongs to the image."""
        return _unit(self._start.to(self._image))

    def product(self, direction: Tensor) -> Images:
        """``H u`` over ``scale``, ``(B, C, H, W)``."""
        return self._derivative(self._gradient, direction)

    def spectral(self, tolerance: float, steps: int, start: Tensor | None = None) -> Spectral:
        """``|λ|_max`` of each image's Hessian by power iteration, of which ``‖H u‖`` is a lower bound at every step.

        An image is done when its norm is within ``tolerance`` of where its steps lead, or after ``steps`` products;
        what it has been given is not changed by images that take longer.
        """
        # The gradient is often near the top eigenvector, and the noise is orthogonal to none.
        u = _unit(_unit(self.gradient) + self.noise()) if start is None else _unit(start)
        norm = before = torch.zeros_like(self.scale)
        taken, open_ = torch.zeros_like(norm, dtype=torch.long), torch.ones_like(norm, dtype=torch.bool)
        near = ~open_
        for step in range(1, steps + 1):
            v = self.product(u)
            found = torch.where(open_, _length(v).double(), norm)
            gain, last = (found - norm).abs(), (norm - before).abs()
            # What a geometric series of such gains would still add, where they shrink.
            rest = torch.where(gain < last, gain * gain / (last - gain), torch.inf)
            # Twice, since the leap from the start to a plateau of near eigenvalues looks like quick convergence.
            done = near & (rest <= tolerance * found) | (found == 0)
            near = (rest <= tolerance * found) & (step > 2)
            taken, before, norm = torch.where(open_, step, taken), norm, found
            open_, u = open_ & ~done, _unit(v)
            if not open_.any():
                break
        return Spectral(norm * self.scale, taken, ~open_)

    def kinked(self) -> Bool[Tensor, "b"]:
        """Where the logits are linear around the image, yet not everywhere: a network of ReLUs and max-pools."""
        # Uneven, since what all logits share has no weight in some networks' sums.
        weight = torch.linspace(1, 2, self._logits.shape[1]).to(self._logits).expand_as(self._logits)
        here = self._pulled(weight)
        flat = self._derivative(here, self.noise()).flatten(1).abs().amax(1) == 0
        other = (1 - self._image.detach()).requires_grad_()
        with measuring(self._network):
            (there,) = grad(self._network(other), other, weight)
        change, size = ((here - there).detach().flatten(1).norm(dim=1), there.flatten(1).norm(dim=1))
        return flat & (change > ROUNDING * size)

    def _pulled(self, cotangent: Tensor) -> Images:
        with undisturbed():
            return grad(self._logits, self._image, cotangent.to(self._logits.dtype), create_graph=True)[0]

    def _derivative(self, gradient: Tensor, direction: Tensor) -> Images:
        """Zero where a gradient does not depend on the image."""
        if not gradient.requires_grad:
            return torch.zeros_like(self._image)
        with undisturbed():
            return grad(gradient, self._image, direction, retain_graph=True, materialize_grads=True)[0]


def _length(values: Tensor) -> Tensor:
    return values.flatten(1).norm(dim=1)


def _unit(values: Tensor) -> Tensor:
    size = _length(values).view(-1, 1, 1, 1)
    return values / torch.where(size > 0, size, 1)
