from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.plotting.pictures import common_examples, example, gallery
from gradlens.runs.record import Run

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
    note = f"n = {len(chosen)} images that all runs keep; {note}"
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
