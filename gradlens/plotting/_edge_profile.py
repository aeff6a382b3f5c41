from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from gradlens._registry import figure
from gradlens._results import Run
from gradlens.plotting._panels import colors_of, need_array, new_figure
from gradlens.plotting._style import MUTED


@figure
def edge_profile(runs: Sequence[Run], ax: Axes | None = None) -> Axes:
    """Share of |g| within a distance of the nearest Canny edge, beside the share of the area.

    No threshold on the gradient: a curve above the dotted one is closer to edges than the image is.
    """
    ax = ax or new_figure(1, 1)[1][0, 0]
    arrays = "edge_concentration/profile"
    for color, run in zip(colors_of(runs), runs, strict=True):
        share = need_array(run, f"{arrays}/gradient", "edge_concentration")
        ax.plot(np.arange(len(share)), share, color=color, label=run.label)
    area = need_array(runs[0], f"{arrays}/area", "edge_concentration")
    ax.plot(np.arange(len(area)), area, color=MUTED, ls=":", label="area")
    ax.set(xlabel="distance to the nearest edge (pixels)", ylabel="share within it", ylim=(0, 1.02))
    ax.legend()
    return ax
