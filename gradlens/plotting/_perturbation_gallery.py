from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting.panels import one_setting
from gradlens.plotting.pictures import gallery, in_gray, paths_of, scale_of
from gradlens.runs.record import Run

OUTCOMES = ("withstands", "breaks", "wrong before")


@figure
def perturbation_gallery(runs: Sequence[Run], images: int = 4) -> Figure:
    """What an attack adds to the same images: a row an image, a column a model, its outcome in the corner.

    Perturbations are on one scale a row, gray is zero. Source: Rodríguez-Muñoz et al. 2024, Fig. 3.
    """
    setting = one_setting(runs, "perturbations", "perturbation")
    attacks = {str(run.arrays[f"{setting}/attack"]) for run in runs}
    if len(attacks) > 1:
        raise UserError(f"the runs hold perturbations of different attacks: {' and '.join(sorted(attacks))}")
    chosen = _common(runs, setting, images)

    def cells(index: int) -> list[tuple[NDArray, str]]:
        kept = [_kept(run, setting, index) for run in runs]
        shared = scale_of(*(delta for _, delta, _ in kept))
        return [(in_gray(delta, shared), outcome) for _, delta, outcome in kept]

    scale = "gray is zero, one scale a row: the 99 % quantile of all models' perturbations"
    note = f"n = {len(chosen)} images; attack: {attacks.pop().replace(',', ', ')}; {scale}"
    return gallery(runs, chosen, lambda index: _kept(runs[0], setting, index)[0], cells, note)


def _common(runs: Sequence[Run], setting: str, images: int) -> list[int]:
    """Indices of the first images of the rows that every run keeps, and that are the same in all."""
    kept = [paths_of(run, run.arrays[f"{setting}/index"]) for run in runs]
    common = [index for index, path in kept[0].items() if all(other.get(index) == path for other in kept)][:images]
    if not common:
        raise UserError("the runs keep perturbations of no common image; analyze them on the same data and --limit")
    return common


def _kept(run: Run, setting: str, index: int) -> tuple[NDArray, NDArray, str]:
    """Image and perturbation, ``(H, W, 3)`` each, and what became of the image."""
    row = int(np.flatnonzero(run.arrays[f"{setting}/index"] == index)[0])
    image, delta = (run.arrays[f"{setting}/{name}"][row].astype(np.float32) for name in ("image", "perturbation"))
    return image.transpose(1, 2, 0), delta.transpose(1, 2, 0), OUTCOMES[int(run.arrays[f"{setting}/outcome"][row])]
