from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.plotting.panels import (
    cell_width,
    curve,
    fitted,
    footnote,
    is_wide,
    legend_above,
    need_array,
    new_figure,
    one_setting,
)
from gradlens.plotting.style import enlarged, looks
from gradlens.runs.record import Run


@figure
def frequency_response(runs: Sequence[Run]) -> Figure:
    """Accuracy without the frequencies above a radius, and with noise of equal energy in one band of them.

    A curve a model, with Wilson's 95 % intervals. One that rises late needs fine detail, and one that dips at
    high frequencies is misled by it. Sources: Rodríguez-Muñoz et al. 2024, Ma et al. 2023.
    """
    setting = one_setting(runs, "frequency_response", "lowpass/accuracy")
    across, size = is_wide(), enlarged()
    shape = (1, 2) if across else (2, 1)
    figure, axes = new_figure(*shape, height=(1.7 if across else 1.25) * size, rest=0.3 * size, sharey=True)
    for ax, kind in zip(axes.flat, ("lowpass", "noise"), strict=True):
        for look, run in zip(looks(runs), runs, strict=True):
            values = [need_array(run, f"{setting}/{kind}/{name}") for name in ("accuracy", "low", "high")]
            curve(
                ax, run.label, _places(run, setting, kind), *values, color=look.color, ls=look.style, marker="o", ms=2
            )
    _label(axes.flat[0], "largest frequency kept (cycles a pixel)")
    _label(axes.flat[1], "frequency of the noise (cycles a pixel)")
    legend_above(figure, axes.flat[0].get_legend_handles_labels()[0])
    note = "bands: 95 % intervals; the last radius keeps all; noise: middles of the bands, equal energy in each"
    footnote(figure, note, runs)
    return figure


def _places(run: Run, setting: str, kind: str) -> NDArray:
    if kind == "lowpass":
        return need_array(run, f"{setting}/lowpass/cutoff")
    edges = need_array(run, f"{setting}/noise/edges")
    return np.asarray((edges[1:] + edges[:-1]) / 2)


def _label(ax: Axes, along: str) -> None:
    ax.set(xlabel=fitted(along, cell_width(ax)), ylabel="accuracy (%)", ylim=(0, 102), xlim=(0, None))
