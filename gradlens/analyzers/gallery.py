"""The gradients of a few images, and what an attack adds to them, to be looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from gradlens.analyzers._base import Analyzer, Summary
from gradlens.analyzers._robustness import Robustness
from gradlens.core.registry import analyzer
from gradlens.core.types import UserError
from gradlens.probes.attacks import attack
from gradlens.probes.probe import Probe


@analyzer
@dataclass
class Gallery(Analyzer):
    """The gradients of a few images of any objective, to be looked at.

    Keeps the first ``images`` of the run's 64 pilot images, at most all of them, as arrays: ``index``,
    ``image`` and ``gradient`` ``(N, C, H, W)`` as float16, the gradient at unit size, and ``scale``
    ``(N,)``; the gradient per unit pixel is ``gradient · scale``, as in a run's examples.
    ``gallery_images`` counts them.
    """

    images: int = 16
    objective: str = "loss"
    _kept: list[dict[str, NDArray]] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.images < 1:
            raise UserError(f"gallery: a gallery of {self.images} images is none; give images=1 or more")

    @property
    def needs(self) -> tuple[str, ...]:
        """Nothing of the batches: it has what it wants after the pilot images."""
        return ()

    def fit(self, pilot: Probe) -> None:
        missing = self.images - sum(len(piece["index"]) for piece in self._kept)
        if missing > 0:
            self._kept.append({name: array[:missing] for name, array in kept_gradients(pilot, self.objective).items()})

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """How many images are kept, and they."""
        arrays = {name: np.concatenate([piece[name] for piece in self._kept]) for name in self._kept[0]}
        return Summary({"gallery_images": len(arrays["index"])}, arrays)


def kept_gradients(probe: Probe, objective: str = "loss") -> dict[str, NDArray]:
    """Images and their gradients in half precision, as a file keeps them: gradient ``gradient · scale``."""
    direction, scale = probe.scaled_gradient(objective)
    # float16 cannot hold a gradient's size, so the direction is kept at unit size with its scale.
    size = direction.abs().amax((1, 2, 3)).clamp(min=1e-30)
    return {
        "index": probe.batch.index.numpy(),
        "image": probe.batch.image.cpu().half().numpy(),
        "gradient": (direction / size.view(-1, 1, 1, 1)).cpu().half().numpy(),
        "scale": (scale * size).cpu().numpy(),
    }


# What became of an image.
WITHSTANDS, BREAKS, WRONG_BEFORE = range(3)


@analyzer
@dataclass
class Perturbations(Analyzer):
    """What an attack adds to a few images, to be looked at.

    Keeps the first ``images`` of the run's 64 pilot images, at most all of them, as arrays: ``index``, ``image``
    and ``perturbation`` ``(N, C, H, W)``, the attacked image minus the given one in pixels of [0, 1], as
    float16; ``outcome`` ``(N,)``: 0 withstands, 1 breaks, 2 wrong before; ``attack``: its name, steps, norm
    and eps. Structure that follows the objects in the image is what robust models are found to show. The
    attack is that of ``robustness``, with its parameters. ``perturbations_broken`` of ``perturbations_kept``
    images broke. Source: Rodríguez-Muñoz et al. 2024, Fig. 3.
    """

    images: int = 8
    attack: str = "pgd"
    norm: str = "linf"
    eps: float = 4 / 255
    steps: int = 10
    _kept: list[dict[str, NDArray]] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.images < 1:
            raise UserError(f"perturbations: {self.images} images are none; give images=1 or more")
        self._attack = Robustness(self.attack, self.norm, self.eps, self.steps)

    def fit(self, pilot: Probe) -> None:
        missing = self.images - sum(len(piece["index"]) for piece in self._kept)
        if missing > 0:
            self._kept.append(self._attacked(Probe(pilot.model, pilot.batch[slice(0, missing)], seed=pilot.seed)))

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """How many images are kept and broke, and they."""
        arrays = {name: np.concatenate([piece[name] for piece in self._kept]) for name in self._kept[0]}
        broken = int((arrays["outcome"] == BREAKS).sum())
        scalars: dict[str, float] = {"perturbations_kept": len(arrays["index"]), "perturbations_broken": broken}
        return Summary(scalars, {**arrays, "attack": np.array(self._attack.parameters.strip("[]"))})

    def _attacked(self, probe: Probe) -> dict[str, NDArray]:
        there = attack(probe, self.attack, **self._attack.taken)
        outcome = torch.where(there.correct, WITHSTANDS, BREAKS).where(probe.correct, WRONG_BEFORE)
        return {
            "index": probe.batch.index.cpu().numpy(),
            "image": probe.batch.image.cpu().half().numpy(),
            "perturbation": (there.batch.image - probe.batch.image).cpu().half().numpy(),
            "outcome": outcome.cpu().numpy(),
        }
