from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting._curves import legend_columns
from gradlens.plotting.panels import colors_of, footnote, images_of, need_array, new_figure
from gradlens.plotting.style import MUTED
from gradlens.runs.record import Run

ANALYZER, OMEGA, ADJUSTED, NULL = "class_selectivity", ":omega_squared", ":adjusted", ":null"
# Behind these, bands and the raw index would cover each other.
BANDED, RAW = 3, 2
NAMED, SHORT = 12, 3


@figure
def selectivity_by_layer(runs: Sequence[Run]) -> Figure:
    """Class selectivity of the units by layer in forward order: ω², and the index adjusted for its null.

    Lines are means over the units of a layer, bands their quantiles from 10 to 90 %; the raw index is faint
    and dashed, that of permuted labels faint and dotted. Layers stand at their relative depth where models
    differ in them. Source: Leavitt & Morcos 2020.
    """
    layers = [layers_of(run) for run in runs]
    drawn, (panels,) = new_figure(1, 2, height=2.4, sharex=True)
    alike = all(names == layers[0] for names in layers)
    for color, run, names in zip(colors_of(runs), runs, layers, strict=True):
        x = np.arange(len(names)) if alike else np.arange(len(names)) / max(1, len(names) - 1)
        for ax, tail in zip(panels, (OMEGA, ADJUSTED), strict=True):
            _draw(ax, x, [run.arrays[f"{ANALYZER}/{name}{tail}"] for name in names], color, run.label, len(runs))
        if len(runs) <= RAW:
            for tail, style in (("", "--"), (NULL, ":")):
                mean, *_ = _by_unit([run.arrays[f"{ANALYZER}/{name}{tail}"] for name in names])
                panels[1].plot(x, mean, color=color, ls=style, lw=0.8, alpha=0.6)
    _finish(panels, layers[0] if alike else None)
    _legend(drawn, panels, len(runs))
    footnote(drawn, _note(runs))
    return drawn


def layers_of(run: Run) -> list[str]:
    """The names of the measured layers, in forward order."""
    prefix = f"{ANALYZER}/"
    names = [
        n.removeprefix(prefix).removesuffix(OMEGA) for n in run.arrays if n.startswith(prefix) and n.endswith(OMEGA)
    ]
    reason = (run.provenance.get("missing") or {}).get("omega_squared_mean")
    if not names and reason:
        raise UserError(f"run {run.label} has no class selectivity: {reason}")
    need_array(run, f"{prefix}{names[0] if names else 'LAYER'}{OMEGA}", ANALYZER)
    return names


def _by_unit(units: Sequence[NDArray]) -> tuple[NDArray, NDArray, NDArray]:
    """Mean and the quantiles 0.1 and 0.9 over each layer's units that vary; missing where none does."""
    rows = []
    for values in units:
        known = values[np.isfinite(values)]
        rows.append((known.mean(), *np.quantile(known, [0.1, 0.9])) if len(known) else (np.nan,) * 3)
    mean, low, high = np.array(rows).T
    return mean, low, high


def _draw(ax: Axes, x: NDArray, units: Sequence[NDArray], color: str, label: str, models: int) -> None:
    mean, low, high = _by_unit(units)
    ax.plot(x, mean, color=color, marker="o", ms=2.5, label=label)
    if models <= BANDED:
        ax.fill_between(x, low, high, color=color, alpha=0.15, lw=0)


def _finish(panels: NDArray, names: list[str] | None) -> None:
    for ax, title in zip(panels, ("ω² of class", "selectivity, adjusted"), strict=True):
        ax.axhline(0, color=MUTED, lw=0.6, ls=":")
        ax.set_title(title)
        ax.set(xlabel="layer, in forward order" if names else "relative depth of the layer")
        if names and len(names) <= NAMED:
            slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
            ax.set_xticks(np.arange(len(names)), names, **(slanted if max(map(len, names)) > SHORT else {}))


def _legend(drawn: Figure, panels: NDArray, models: int) -> None:
    handles = panels[0].get_legend_handles_labels()[0]
    if models <= RAW:
        handles += [Line2D([], [], color=MUTED, ls="--", lw=0.8, label="raw index")]
        handles += [Line2D([], [], color=MUTED, ls=":", lw=0.8, label="of permuted labels")]
    drawn.legend(handles=handles, loc="outside upper center", ncols=legend_columns(len(handles)))


def _note(runs: Sequence[Run]) -> str:
    counts = [run.arrays[f"{ANALYZER}/run:images_a_class"] for run in runs]
    images = [f"{np.median(count[count > 0]):g}" for count in counts]
    each = ", ".join(f"{run.label} {number}" for run, number in zip(runs, images, strict=True))
    said = images[0] if len(set(images)) == 1 else each
    bands = "; bands: 10 to 90 % of units" if len(runs) <= BANDED else ""
    return f"{images_of(runs)}; means over units{bands}; images a class (median): {said}"
