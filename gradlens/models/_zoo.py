"""Small architectures that timm lacks."""

from __future__ import annotations

from torch import nn


def digits_cnn(num_classes: int = 10, activation: str = "gelu", width: int = 16) -> nn.Sequential:
    """A CNN for 32 × 32 images: three 3 × 3 convolutions with BatchNorm (16-32-64 channels), pooled."""
    from gradlens.models._activations import ACTIVATIONS

    act, w = ACTIVATIONS[activation], width
    return nn.Sequential(
        *(nn.Conv2d(3, w, 3, padding=1, bias=False), nn.BatchNorm2d(w), act()),
        *(nn.Conv2d(w, 2 * w, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(2 * w), act()),
        *(nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4 * w), act()),
        *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64 * w, num_classes)),
    )


ZOO = {"digits_cnn": digits_cnn}
