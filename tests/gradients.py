"""Random images, a classifier that is surer, and how far one gradient is from another."""

from __future__ import annotations

import torch
from torch import Tensor

from gradlens.core.types import Batch
from gradlens.models import Classifier


def random_batch(n: int, side: int = 32, classes: int = 10, first: int = 0, dtype=torch.float32) -> Batch:
    generator = torch.Generator().manual_seed(first)
    image = torch.rand(n, 3, side, side, generator=generator, dtype=dtype)
    return Batch(image, torch.randint(classes, (n,), generator=generator), torch.arange(first, first + n))


def relative_error(found: Tensor, expected: Tensor) -> Tensor:
    """One number an image: the norm of the difference over the norm."""
    found, expected = found.double().flatten(1), expected.double().flatten(1)
    # At unit size, since squares of the smallest gradients underflow.
    size = expected.abs().amax(1, keepdim=True)
    return ((found - expected) / size).norm(dim=1) / (expected / size).norm(dim=1)


def sharpened(model: Classifier, factor: float) -> Classifier:
    """The same network with its logits multiplied."""
    head = model.net[-1]
    with torch.no_grad():
        head.weight.mul_(factor)
        head.bias.mul_(factor)
    return model
