"""Pictures of the same images by each model: gradients, what an attack adds, and edges below them."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting.panels import counted, one_setting, short
from gradlens.plotting.pictures import common_examples, example, gallery, in_gray, paths_of, scale_of
from gradlens.runs.record import Run

SCALES = {
    "shared": "gray is zero; one scale an image: the 99 % quantile of |g| over all models",
    "image": "gray is zero; every gradient on its own scale: its 99 % quantile of |g|",
}


@figure
def gradient_gallery(runs: Sequence[Run], images: int = 4, scale: str = "image") -> Figure:
    """Loss gradients of the same images by each model, with their L1 norms; first an image a class.

    scale ``image`` is the paper's display, ``0.5 + 0.5 g / q99`` for each gradient alone, in which the L1 in
    the corner says how large it is; ``shared`` compares the models of an image, small gradients in plain gray.
    Source: Rodríguez-Muñoz et al. 2024, Fig. 1.
    """
    if scale not in SCALES:
        raise UserError(f"unknown scale '{scale}' of gradient_gallery; there are: {', '.join(SCALES)}")
    chosen = common_examples(runs, images)

    def cells(index: int) -> list[tuple[NDArray, str]]:
        gradients = [example(run, index)[1] for run in runs]
        shared = scale_of(*gradients) if scale == "shared" else None
        return [(in_gray(gradient, shared), f"L1 {short(np.abs(gradient).sum())}") for gradient in gradients]

    note = f"{counted(len(chosen))} that all runs keep; {SCALES[scale]}"
    return gallery(runs, chosen, lambda index: example(runs[0], index)[0], cells, note)


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
    note = f"{counted(len(chosen))}; attack: {attacks.pop().replace(',', ', ')}; {scale}"
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


EDGE, COVER = (0.1, 0.9, 1.0), 0.6


@figure
def edge_overlay(runs: Sequence[Run], images: int = 4, sigma: float = 1.0) -> Figure:
    """Gradient magnitudes of the same images with the images' Canny edges drawn on them.

    Brightness is Σ_c|g_c| on a logarithmic scale of two decades below the 99.5 % quantile, cyan the
    edges, and the corner gives the AUC of |g| for them.
    """
    from skimage.color import rgb2gray
    from skimage.feature import canny

    chosen = common_examples(runs, images)

    def cells(index: int) -> list[tuple[NDArray, str]]:
        image = example(runs[0], index)[0]
        gray = rgb2gray(image) if image.shape[2] == 3 else image[..., 0]
        edges = canny(gray.astype(np.float64), sigma)
        return [(_overlay(np.abs(example(run, index)[1]).sum(2), edges), _auc(run, index)) for run in runs]

    note = "brightness: |g|, logarithmic over two decades, a scale an image; cyan: Canny edges of the image"
    note = f"{counted(len(chosen))} that all runs keep; {note}"
    return gallery(runs, chosen, lambda index: example(runs[0], index)[0], cells, note)


def _overlay(magnitude: NDArray, edges: NDArray) -> NDArray:
    """Edges ``(H, W)`` over magnitudes ``(H, W)``, as colours ``(H, W, 3)``."""
    top = np.quantile(magnitude, 0.995) or 1.0
    depth = np.log10(np.maximum(magnitude / top, 1e-2)) / 2 + 1
    pixels = mpl.colormaps["magma"](np.clip(depth, 0, 1))[..., :3]
    pixels[edges] = COVER * np.array(EDGE) + (1 - COVER) * pixels[edges]
    return pixels


def _auc(run: Run, index: int) -> str:
    rows = run.samples.loc[run.samples["index"] == index]
    if "edge_auc_canny" not in rows or rows.empty or not np.isfinite(rows["edge_auc_canny"].iloc[0]):
        return "AUC missing"
    return f"AUC {rows['edge_auc_canny'].iloc[0]:.2f}"
