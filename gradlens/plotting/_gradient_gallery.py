from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting.pictures import common_examples, example, gallery, in_gray, scale_of
from gradlens.runs.record import Run

SCALES = {
    "shared": "gray is zero; one scale an image: the 99 % quantile of |g| over all models",
    "image": "gray is zero; every gradient on its own scale: its 99 % quantile of |g|",
}


@figure
def gradient_gallery(runs: Sequence[Run], images: int = 4, scale: str = "shared") -> Figure:
    """Loss gradients of the same images by each model, with their L1 norms.

    scale ``shared`` compares the models of an image; ``image`` is the paper's display, ``0.5 + 0.5 g / q99``
    for each gradient alone. Source: Rodríguez-Muñoz et al. 2024, Fig. 1.
    """
    if scale not in SCALES:
        raise UserError(f"unknown scale '{scale}' of gradient_gallery; there are: {', '.join(SCALES)}")
    chosen = common_examples(runs, images)

    def cells(index: int) -> list[tuple[NDArray, str]]:
        gradients = [example(run, index)[1] for run in runs]
        shared = scale_of(*gradients) if scale == "shared" else None
        return [(in_gray(gradient, shared), f"L1 {np.abs(gradient).sum():.3g}") for gradient in gradients]

    note = f"n = {len(chosen)} images that all runs keep; {SCALES[scale]}"
    return gallery(runs, chosen, lambda index: example(runs[0], index)[0], cells, note)
