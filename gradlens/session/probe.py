"""A probe in a Python session: opened from any images, drawn, and shown in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from gradlens.core.types import Batch
from gradlens.models import Classifier
from gradlens.probes import opening
from gradlens.probes import probe as plain
from gradlens.session.looks import look_at, probe_page


class Probe(plain.Probe):
    __doc__ = plain.Probe.__doc__

    @classmethod
    def of(cls, probe: plain.Probe) -> Probe:
        """The same look with what a session adds; what was computed already is computed again when asked for."""
        return cls(probe.model, probe.batch, probe.mode, probe.seed, probe.needs)

    def show(self, of: str = "loss", edges: str = "canny", images: int = 8) -> Figure:
        """Image, gradient and edges side by side, a row an image, at most so many; gray is a gradient of zero."""
        return look_at(self, of, edges, images)

    def _look_at(self, batch: Batch) -> Probe:
        return Probe(self.model, batch, self.mode, self.seed, self.needs)

    def _repr_html_(self) -> str:
        return probe_page(self)


def probe(
    model: Classifier | str | Path,
    images: Any,
    labels: int | Sequence[int] | Tensor | None = None,
    *,
    seed: int = 0,
    needs: Sequence[str] = ("units",),
) -> Probe:
    """Look at images: tensors or arrays ``(B, 3, H, W)`` in [0, 1], PIL images, paths, a list of them, or a ``Batch``.

    labels: ``(B,)``; None takes the prediction. Pictures are preprocessed as the model wants them. A
    probe keeps its graph and what was asked of it until it goes, or until the end of a ``with`` block;
    more images than the memory holds are refused with an estimate from two of them.
    """
    return opening.look_at(model, images, labels, seed, needs, Probe)
