"""The few images that a run looks at first: what analyzers must know beforehand, and the examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gradlens.analysis.rows import plain_columns
from gradlens.analyzers import PILOT_IMAGES, Analyzer
from gradlens.analyzers.gallery import kept_gradients
from gradlens.core.memory import in_pieces, within_memory
from gradlens.core.types import Batch, UserError
from gradlens.data import Data
from gradlens.probes.probe import Probe


def show_pilot(
    probe: Callable[[Batch], Probe], data: Data, analyzers: Sequence[Analyzer], examples: int, batch_size: int
) -> tuple[dict[str, NDArray], list[str]]:
    """Show the analyzers the same few images of every class; the examples to keep, and the columns to sum up."""
    pilot = _read(data, PILOT_IMAGES)
    # Looked at twice, since a piece that does not fit into memory must not have been half learnt from.
    _, size = within_memory(lambda piece: _check_labels(data, probe(piece)), pilot, batch_size)
    pieces = in_pieces(pilot, size)
    for piece in pieces:
        seen = probe(piece)
        for analyzer in analyzers:
            analyzer.fit(seen)
    plain, _ = within_memory(lambda piece: plain_columns(analyzers, probe(piece)), pieces[0], size)
    if not examples:
        return {}, plain[0]
    kept, _ = within_memory(lambda piece: kept_gradients(probe(piece)), _read(data, examples), size)
    return {name: np.concatenate([k[name] for k in kept]) for name in kept[0]}, plain[0]


def _read(data: Data, images: int) -> Batch:
    batch, _ = data.read(data.limit(images).indices.tolist())
    if batch is None:
        raise UserError(f"none of the first {images} images of {data.name} can be read; check the folder")
    return batch


def _check_labels(data: Data, probe: Probe) -> None:
    """That the model knows every label, from one look that needs the memory of any later one."""
    classes, highest = probe.logits.shape[1], int(data.labels.max())
    if highest >= classes:
        raise UserError(
            f"{data.name} has labels up to {highest}, the model has {classes} classes; give data with the classes "
            "that the model was trained on"
        )
    probe.scaled_gradient("loss")
