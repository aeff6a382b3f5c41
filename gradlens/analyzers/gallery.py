from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gradlens.analyzers._base import Analyzer, Summary
from gradlens.core.registry import analyzer
from gradlens.core.types import UserError
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
