from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from gradlens.core.registry import figure
from gradlens.plotting._looks import looks
from gradlens.plotting.panels import footnote, images_of, need_array, one_panel
from gradlens.plotting.style import MUTED
from gradlens.runs.record import Run


@figure
def edge_profile(runs: Sequence[Run], ax: Axes | None = None) -> Axes:
    """Share of |g| within a distance of the nearest Canny edge, beside the share of the area (dotted).

    No threshold on the gradient: a curve above the dotted one is closer to edges than the image is.
    Means over images.
    """
    arrays = "edge_concentration/profile"
    curves = [need_array(run, f"{arrays}/gradient", "edge_concentration") for run in runs]
    areas = [need_array(run, f"{arrays}/area", "edge_concentration") for run in runs]
    drawn, ax = one_panel(ax)
    for look, run, share in zip(looks(runs), runs, curves, strict=True):
        ax.plot(np.arange(len(share)), share, color=look.color, ls=look.style, marker=look.marker, label=run.label)
    shared = all(np.array_equal(area, areas[0]) for area in areas)
    for look, run, area in zip(looks(runs), runs, areas[: 1 if shared else None], strict=False):
        color, label = (MUTED, "area") if shared else (look.color, f"area, {run.label}")
        ax.plot(np.arange(len(area)), area, color=color, ls=":", label=label)
    ax.set(xlabel="distance to the nearest edge (pixels)", ylabel="share within it", xlim=(-0.2, _reach(areas)))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    footnote(drawn, f"means over images; {images_of(runs)}")
    return ax


def _reach(areas: Sequence[np.ndarray]) -> float:
    """Where even the area has come within a hundredth of all of it."""
    return max(float(np.searchsorted(area, 0.99 * area[-1])) for area in areas) + 0.5
