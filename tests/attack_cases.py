"""What attacks are tried on: functions that remember what they were asked, and models whose worst case is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import gradlens as gl
from gradlens.core.registry import attack
from gradlens.core.types import Batch
from gradlens.probes.attacks import Evaluate, noise_of
from gradlens.probes.attacks.worst_of import Member
from gradlens.probes.probe import Probe

each_norm = pytest.mark.parametrize(("norm", "eps"), [("linf", 8 / 255), ("l2", 0.5)])
SUITE = [
    Member("pgd", "-margin", {"steps": 5}),
    Member("pgd", "loss", {"steps": 5, "restarts": 2}),
    Member("square", "-margin", {"queries": 20}),
]


def size(delta: Tensor, norm: str) -> Tensor:
    return delta.flatten(1).abs().amax(1) if norm == "linf" else delta.flatten(1).norm(dim=1)


class Scripted:
    """An attack's view of a function of images, which remembers what it was asked."""

    def __init__(self, value, gradient=None):
        self.of, self.gradient = value, gradient
        self.asked, self.gradients = [], 0

    def value(self, image):
        self.asked.append(image.clone())
        return self.of(image)

    def __call__(self, image):
        self.gradients += 1
        return self.value(image), self.gradient(image)


def still(shape, draw=0):
    """Random numbers that leave an image where it is."""
    return torch.full((6, *shape), 0.5)


def linear_model(images: int, low: float, high: float):
    """A linear float64 model, and images so far from black and white that nothing here is clipped."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 2))
    model = gl.load_model(net, mean=(0.5,) * 3, std=(0.2, 0.25, 0.3), device="cpu").double()
    image = low + (high - low) * torch.rand(images, 3, 8, 8, dtype=torch.float64)
    return model, Batch(image, torch.arange(images) % 2, torch.arange(images))


def with_exact_radii():
    """Forty images of a linear model, and each one's smallest ℓ∞ radius: the margin over the slope's L1 norm."""
    model, batch = linear_model(40, 0.4, 0.6)
    weight = model.net[1].weight.detach()
    slope = ((weight[0] - weight[1]).view(3, 8, 8) / model.std[0]).abs().sum()
    return model, batch, Probe(model, batch).margin / slope


def succeeds(probe: Probe, member: Member, eps: float) -> bool:
    """Whether an attack on one image tries any that the model gets wrong."""
    tried = []

    class Watching(Evaluate):
        def __init__(self):
            super().__init__(lambda image: tried.append(probe.at(image)) or tried[-1], member.objective)

    noise = noise_of(probe, f"attack/{member.name}")
    attack[member.name](Watching(), probe.batch.image, noise, eps=eps, **member.parameters)
    return any(not look.correct.item() for look in tried)
