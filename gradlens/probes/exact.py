"""A network in float64, where a difference of nearby values would drown in float32's rounding."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call

from gradlens.models import Classifier
from gradlens.models.watching import measuring
from gradlens.probes.probe import Probe


def in_float64(probe: Probe) -> Callable[[Tensor], Tensor]:
    """A function of images ``(N, C, H, W)`` to logits ``(N, K)``, float64 and detached, by the probe's network.

    Its weights are rounded as they were; the copy of them in float64 lives as long as the function.
    """
    network = probe.network
    if isinstance(network, Classifier):
        network = network.under_autocast(None)
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    exact = {name: t.detach().double() if t.is_floating_point() else t for name, t in tensors.items()}

    def logits(image: Tensor) -> Tensor:
        with measuring(network), torch.no_grad():
            return functional_call(network, exact, (image.double(),)).double()

    return logits
