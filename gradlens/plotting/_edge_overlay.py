from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.feature import canny

from gradlens.core.registry import figure
from gradlens.plotting.panels import class_of, common_examples, corner, example, example_grid, footnote, picture
from gradlens.runs.record import Run

EDGE = (0.1, 0.9, 1.0)


@figure
def edge_overlay(runs: Sequence[Run], images: int = 4, sigma: float = 1.0) -> Figure:
    """Gradient magnitudes of the same images with the images' Canny edges drawn on them.

    Brightness is Σ_c|g_c| on a logarithmic scale of two decades below the 99.5 % quantile, cyan the
    edges, and the corner gives the AUC of |g| for them.
    """
    chosen = common_examples(runs, images)
    names = ["image", *(run.label for run in runs)]
    drawn, rows = example_grid([class_of(runs[0], index) for index in chosen], names)
    for row, index in zip(rows, chosen, strict=True):
        image = example(runs[0], index)[0]
        edges = canny(_luminance(image).astype(np.float64), sigma)
        picture(row[0], image)
        for ax, run in zip(row[1:], runs, strict=True):
            _overlay(ax, np.abs(example(run, index)[1]).sum(2), edges)
            corner(ax, _auc(run, index))
    note = "brightness: |g|, logarithmic over two decades, a scale an image; cyan: Canny edges of the image"
    footnote(drawn, f"n = {len(chosen)} images that all runs keep; {note}")
    return drawn


def _luminance(image: NDArray) -> NDArray:
    return rgb2gray(image) if image.shape[2] == 3 else image[..., 0]


def _overlay(ax: Axes, magnitude: NDArray, edges: NDArray) -> None:
    top = np.quantile(magnitude, 0.995) or 1.0
    depth = np.log10(np.maximum(magnitude / top, 1e-2)) / 2 + 1
    picture(ax, np.clip(depth, 0, 1), cmap="magma")
    layer = np.zeros((*edges.shape, 4))
    layer[edges] = (*EDGE, 0.6)
    ax.imshow(layer)


def _auc(run: Run, index: int) -> str:
    rows = run.samples.loc[run.samples["index"] == index]
    if "edge_auc_canny" not in rows or rows.empty or not np.isfinite(rows["edge_auc_canny"].iloc[0]):
        return "AUC missing"
    return f"AUC {rows['edge_auc_canny'].iloc[0]:.2f}"
