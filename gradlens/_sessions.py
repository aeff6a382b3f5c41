"""The two calls of a Python session that need no data set: a probe, and its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gradlens._probe import Images, Probe
from gradlens._types import Batch, UserError, check_images
from gradlens.data import to_tensor
from gradlens.models import Classifier, load_model


def probe(
    model: Classifier | str | Path,
    images: Any,
    labels: int | Sequence[int] | Tensor | None = None,
    *,
    seed: int = 0,
    needs: Sequence[str] = ("units",),
) -> Probe:
    """Look at images: tensors or arrays ``(B, 3, H, W)`` in [0, 1], PIL images, or paths.

    labels: ``(B,)``; None takes the prediction. Pictures are preprocessed as the model wants them.
    """
    model = model if isinstance(model, Classifier) else load_model(model)
    image = to_tensor(images, model.card.preprocess)
    check_images(image)
    target = None if labels is None else torch.as_tensor(labels, dtype=torch.int64).reshape(-1)
    if target is not None and len(target) != len(image):
        raise UserError(f"{len(image)} images came with {len(target)} labels; give one label an image")
    batch = Batch(image, target, torch.arange(len(image)))
    return Probe(model, batch.to(model.device), seed=seed, needs=needs)


def input_gradient(model: Classifier | str | Path, images: Any, labels: Any = None, objective: str = "loss") -> Images:
    """``∂ objective_b / ∂ image_b``, ``(B, 3, H, W)``, per unit pixel and signed."""
    return probe(model, images, labels, needs=()).gradient(objective)
