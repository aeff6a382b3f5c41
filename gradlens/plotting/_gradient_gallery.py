from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting.panels import class_of, common_examples, corner, example, example_grid, footnote, picture
from gradlens.plotting.signed import in_gray, scale_of
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
    names = ["image", *(run.label for run in runs)]
    drawn, rows = example_grid([class_of(runs[0], index) for index in chosen], names)
    for row, index in zip(rows, chosen, strict=True):
        looks = [example(run, index) for run in runs]
        picture(row[0], looks[0][0])
        shared = scale_of(*(gradient for _, gradient in looks)) if scale == "shared" else None
        for ax, (_, gradient) in zip(row[1:], looks, strict=True):
            picture(ax, in_gray(gradient, shared))
            corner(ax, f"L1 {np.abs(gradient).sum():.3g}")
    footnote(drawn, f"n = {len(chosen)} images that all runs keep; {SCALES[scale]}")
    return drawn
