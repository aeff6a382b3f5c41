from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gradlens.core.types import Preprocess, UserError
from gradlens.models._folding import fold_batchnorm


@dataclass(frozen=True)
class ModelCard:
    """What a run must remember about a model to be repeated.

    options are the arguments of ``load_model`` that open it again, None for a module given as such;
    display is what a manifest says of it for figures and tables.
    """

    name: str
    spec: str
    arch: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    activation: str | None = None
    weights: str = "raw"
    sha256: str | None = None
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    folded: int = 0
    notes: tuple[str, ...] = ()
    options: Mapping[str, Any] | None = None
    display: Mapping[str, Any] | None = None


class Classifier(nn.Module):
    """A network with its normalisation inside: images ``(B, 3, H, W)`` in [0, 1] → logits ``(B, K)``.

    mean and std are per channel, in pixels of [0, 1]; ``(0, 0, 0)`` and ``(1, 1, 1)`` leave the pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, card: ModelCard):
        super().__init__()
        self.net, self.card = net, card
        self.channels_last = False
        self.register_buffer("mean", torch.tensor(card.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(card.std).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        x = (image - self.mean) / self.std
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        logits = self.net(x)
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise UserError(
                f"model {self.card.name} returned {_describe(logits)}; wanted logits (B, K): wrap it so "
                "that forward returns one tensor"
            )
        return logits

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def folded(self) -> Classifier:
        """A faster copy for measuring: BatchNorm folded into convolutions, channels last.

        Module names stay, so units can still be asked for by name. The copy's card counts the folded
        sites; networks without any are returned as a plain copy, those that cannot be copied as they are.
        """
        try:
            twin = copy.deepcopy(self).eval()
        except Exception as error:  # a user's module may hold anything
            logging.getLogger("gradlens").info("BatchNorm not folded: %s", error)
            return self
        sites = fold_batchnorm(twin.net)
        if sites:
            twin = twin.to(memory_format=torch.channels_last)
            twin.channels_last = True
        twin.card = replace(self.card, folded=sites)
        return twin

    def provenance(self) -> dict[str, Any]:
        """The card as plain values, with the number of parameters."""
        return {**asdict(self.card), "param_count": sum(p.numel() for p in self.parameters())}


def _describe(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    return f"a {type(output).__name__}"
