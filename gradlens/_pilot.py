"""The few images that a run looks at first: what analyzers must know beforehand, and the examples."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

import numpy as np
from numpy.typing import NDArray

from gradlens._loop import in_pieces, within_memory
from gradlens._probe import Probe
from gradlens._types import Batch, UserError
from gradlens.analyzers import Analyzer
from gradlens.data import Data

PILOT_IMAGES = 64


def show_pilot(
    probe: Callable[[Batch], Probe], data: Data, analyzers: Sequence[Analyzer], examples: int, batch_size: int
) -> dict[str, NDArray]:
    """Show the analyzers the same few images of every class, and keep some as examples."""
    batch, _ = data.read(data.limit(max(PILOT_IMAGES, examples)).indices.tolist())
    if batch is None:
        raise UserError(f"none of the first {PILOT_IMAGES} images of {data.name} can be read; check the folder")
    wanted = set(data.limit(examples).indices.tolist()) if examples else set()

    def look(piece: Batch) -> dict[str, NDArray]:
        seen = probe(piece)
        _check_labels(data, seen)
        return _examples(seen, wanted)

    kept, size = within_memory(look, batch, batch_size)
    for piece in in_pieces(batch, size):
        seen = probe(piece)
        for analyzer in analyzers:
            analyzer.fit(seen)
    return {name: np.concatenate([k[name] for k in kept]) for name in kept[0]}


def _examples(probe: Probe, wanted: Container[int]) -> dict[str, NDArray]:
    """Images and gradients of the wanted indices, in half precision."""
    batch = probe.batch
    direction, scale = probe.scaled_gradient("loss")
    # float16 cannot hold a gradient's size, so the direction is kept at unit size with its scale.
    size = direction.abs().amax((1, 2, 3)).clamp(min=1e-30)
    rows = [r for r, i in enumerate(batch.index.tolist()) if i in wanted]
    return {
        "index": batch.index.numpy()[rows],
        "image": batch.image.cpu().half().numpy()[rows],
        "gradient": (direction / size.view(-1, 1, 1, 1)).cpu().half().numpy()[rows],
        "scale": (scale * size).cpu().numpy()[rows],
    }


def _check_labels(data: Data, probe: Probe) -> None:
    classes, highest = probe.logits.shape[1], int(data.labels.max())
    if highest >= classes:
        raise UserError(
            f"{data.name} has labels up to {highest}, the model has {classes} classes; give data with the classes "
            "that the model was trained on"
        )
