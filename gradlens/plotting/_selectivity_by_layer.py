from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting.panels import cell_width, curve, footnote, is_wide, legend_above, need_array, new_figure
from gradlens.plotting.style import MUTED, enlarged, looks
from gradlens.runs.record import Run

ANALYZER, OMEGA, ADJUSTED, NULL = "class_selectivity", ":omega_squared", ":adjusted", ":null"
RECTIFIED = ":rectified"
# Behind these, bands and the raw index would cover each other.
BANDED, RAW = 2, 2
FAINT = {"--": "raw index", ":": "of permuted labels"}
# Layers to an inch up to which their names are written, and letters up to which they stand upright.
NAMED, SHORT = 4.5, 3


@figure
def selectivity_by_layer(runs: Sequence[Run]) -> Figure:
    """Class selectivity of the units by layer in forward order: ω², and the index adjusted for its null.

    Lines are means over the units of a layer, bands of ω² their quantiles from 10 to 90 %; the raw index is faint
    and dashed, that of permuted labels faint and dotted. Layers stand at their relative depth where models
    differ in them. Source: Leavitt & Morcos 2020.
    """
    layers = [layers_of(run) for run in runs]
    across = 2 if is_wide() else 1
    drawn, axes = new_figure(2 // across, across, height=2.4 if across == 2 else 1.5, rest=0.4, sharex=True)
    panels = axes.ravel()
    alike = all(names == layers[0] for names in layers)
    for look, run, names in zip(looks(runs), runs, layers, strict=True):
        x = np.arange(len(names)) / (1 if alike else max(1, len(names) - 1))
        for ax, tail in zip(panels, (OMEGA, ADJUSTED), strict=True):
            mean, *limits = _by_unit(run, names, tail)[: 3 if len(runs) <= BANDED else 1]
            curve(ax, run.label, x, mean, *limits, color=look.color, marker="o", ms=2.5)
        for tail, style in (("", "--"), (NULL, ":")) if len(runs) <= RAW else ():
            name = f"{run.label}, {FAINT[style]}"
            curve(panels[1], name, x, _by_unit(run, names, tail)[0], color=look.color, ls=style, lw=0.8, alpha=0.6)
    _finish(panels, layers[0] if alike else None)
    _legend(drawn, panels, len(runs))
    footnote(drawn, _note(runs), runs)
    return drawn


def layers_of(run: Run) -> list[str]:
    """The names of the measured layers, in forward order."""
    prefix = f"{ANALYZER}/"
    names = [
        n.removeprefix(prefix).removesuffix(OMEGA)
        for n in run.arrays
        if n.startswith(prefix) and n.endswith(OMEGA) and not n.endswith(f"{RECTIFIED}{OMEGA}")
    ]
    reason = (run.provenance.get("missing") or {}).get("omega_squared_mean")
    if not names and reason:
        raise UserError(f"run {run.label} has no class selectivity: {reason}")
    need_array(run, f"{prefix}{names[0] if names else 'LAYER'}{OMEGA}")
    return names


def _by_unit(run: Run, layers: Sequence[str], tail: str) -> NDArray:
    """Mean and the quantiles 0.1 and 0.9 over each layer's units that vary, ``(3, N)``; missing where none does."""
    if tail == ADJUSTED:
        # Of the means, since a single unit's has no lower bound; so there is no band either.
        raw, null = (_by_unit(run, layers, part)[0] for part in ("", NULL))
        return (raw - null)[None] / (1 - null)
    units = pd.DataFrame({layer: pd.Series(run.arrays[f"{ANALYZER}/{layer}{tail}"]) for layer in layers})
    units = units.astype(float).replace([np.inf, -np.inf], np.nan)
    return np.array([units.mean(), units.quantile(0.1), units.quantile(0.9)])


def _finish(panels: NDArray, names: list[str] | None) -> None:
    for ax, title in zip(panels, ("ω² of class", "selectivity, adjusted"), strict=True):
        ax.axhline(0, color=MUTED, lw=0.6, ls=":")
        ax.set_title(title)
        if ax.get_subplotspec().is_last_row():
            ax.set_xlabel("layer, in forward order" if names else "relative depth of the layer")
        if names and len(names) <= NAMED * cell_width(ax) / enlarged():
            slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
            ax.set_xticks(np.arange(len(names)), names, **(slanted if max(map(len, names)) > SHORT else {}))
        elif names:
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _legend(drawn: Figure, panels: NDArray, models: int) -> None:
    handles = panels[0].get_legend_handles_labels()[0]
    if models <= RAW:
        handles += [Line2D([], [], color=MUTED, ls=style, lw=0.8, label=name) for style, name in FAINT.items()]
    legend_above(drawn, handles)


def _note(runs: Sequence[Run]) -> str:
    counts = [run.arrays[f"{ANALYZER}/run:images_a_class"] for run in runs]
    images = [f"{np.median(count[count > 0]):g}" for count in counts]
    each = ", ".join(f"{run.label} {number}" for run, number in zip(runs, images, strict=True))
    said = images[0] if len(set(images)) == 1 else each
    bands = "; bands of ω²: 10 to 90 % of units" if len(runs) <= BANDED else ""
    return f"means over units{bands}; images a class (median): {said}"
