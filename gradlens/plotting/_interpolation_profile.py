from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from gradlens.core.registry import figure
from gradlens.plotting.panels import (
    curve,
    few_ticks,
    footnote,
    is_wide,
    legend_above,
    need_array,
    new_figure,
    one_setting,
)
from gradlens.plotting.style import MUTED, enlarged, looks
from gradlens.runs.record import Run

PANELS = {"loss": "loss", "l1": "L1 norm", "curvature": "curvature"}


@figure
def interpolation_profile(runs: Sequence[Run]) -> Figure:
    """Loss, gradient and curvature from the image (s = 0) through an attack (1) and as far again, a curve a model.

    Means over images with 95 % intervals; norm and curvature on logarithmic axes. A robust model's are flat.
    Source: Rodríguez-Muñoz et al. 2024.
    """
    setting = one_setting(runs, "attack_interpolation", "s")
    across, size = is_wide(), enlarged()
    rows, columns = (1, 3) if across else (3, 1)
    figure, axes = new_figure(rows, columns, height=(1.7 if across else 1.05) * size, rest=0.3 * size, sharex=True)
    for ax, (what, label) in zip(axes.flat, PANELS.items(), strict=True):
        for look, run in zip(looks(runs), runs, strict=True):
            s, mean, error = (need_array(run, f"{setting}/{name}") for name in ("s", what, f"{what}_error"))
            half = 1.96 * np.nan_to_num(error)
            # A band that reaches zero has no place on a logarithmic axis.
            low = mean - half if what == "loss" else np.maximum(mean - half, mean / 100)
            if np.isfinite(mean).any():
                curve(ax, run.label, s, mean, low, mean + half, color=look.color, ls=look.style)
        ax.axvline(1, color=MUTED, lw=0.6, ls=":")
        ax.set(ylabel=label, yscale="linear" if what == "loss" else "log")
        if what != "loss":
            few_ticks(ax, "y")
    for ax in axes[-1]:
        ax.set_xlabel("s (attack: 1)")
    legend_above(figure, axes.flat[0].get_legend_handles_labels()[0])
    footnote(figure, _note(runs, setting), runs)
    return figure


def _note(runs: Sequence[Run], setting: str) -> str:
    absent = [run.label for run in runs if not np.isfinite(need_array(run, f"{setting}/curvature")).any()]
    gone = f"; no curvature of piecewise-linear networks: {', '.join(absent)}" if absent else ""
    units = "loss in nats, L1 norm in nats and curvature in 1 per unit pixel"
    return f"means over images with 95 % intervals; {units}; dotted: the attack{gone}"
