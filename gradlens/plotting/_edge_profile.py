from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from gradlens.core.registry import figure
from gradlens.plotting.panels import curve, footnote, need_array, one_panel
from gradlens.plotting.style import MUTED, looks
from gradlens.runs.record import Run


@figure
def edge_profile(runs: Sequence[Run], ax: Axes | None = None) -> Axes:
    """Share of |g| within a distance of the nearest Canny edge, beside the share of the area (dotted).

    No threshold on the gradient: a curve above the dotted one is closer to edges than the image is.
    Means over images.
    """
    shares, areas = (
        [need_array(run, f"edge_concentration/profile/{name}") for run in runs] for name in ("gradient", "area")
    )
    drawn, ax = one_panel(ax)
    for look, run, share in zip(looks(runs), runs, shares, strict=True):
        curve(ax, run.label, np.arange(len(share)), share, color=look.color, ls=look.style, marker=look.marker, ms=3.5)
    shared = all(np.array_equal(area, areas[0]) for area in areas)
    for look, run, area in zip(looks(runs), runs, areas[: 1 if shared else None], strict=False):
        color, label = (MUTED, "area") if shared else (look.color, f"area, {run.label}")
        curve(ax, label, np.arange(len(area)), area, color=color, ls=":")
    ax.set(xlabel="distance to the nearest edge (pixels)", ylabel="share within it", xlim=(-0.2, _reach(areas)))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    footnote(drawn, "means over images", runs)
    return ax


def _reach(areas: Sequence[np.ndarray]) -> float:
    """Where even the area has come within a hundredth of all of it."""
    return max(float(np.searchsorted(area, 0.99 * area[-1])) for area in areas) + 0.5
