from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from gradlens.core.names import Name
from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting._curves import banded_line, by_label, of_seeds, percent_over_seeds
from gradlens.plotting._looks import looks
from gradlens.plotting.panels import MOST_IN_ONE, footnote, images_of, need_columns, one_panel, one_setting
from gradlens.runs.record import Run
from gradlens.stats.intervals import share_interval

# Codes of minimal_eps' column broken_by.
LARGE, NOTHING = 4, 5


class EpsCurve(NamedTuple):
    """Accuracy of one run in percent at each radius, with its Wilson limits ``(3, N)``, and at the large one."""

    radii: NDArray
    accuracy: NDArray
    large: float
    at_large: float
    images: int


@figure
@of_seeds
def accuracy_against_eps(runs: Sequence[Run], ax: Axes | None = None) -> Axes:
    """Accuracy under the worst of several attacks against the radius ε (L∞), a curve a model.

    Bands are 95 % intervals: Wilson's over images for one run, Student's over training seeds for runs of one
    label. Accuracy at the large radius, below the figure, must be near 0, or gradients are masked. Source:
    Rodríguez-Muñoz et al. 2024, Fig. 2.
    """
    own, ax = one_panel(ax, rest=0.4)
    setting = one_setting(runs, "minimal_eps", "curve/eps")
    groups = {label: [eps_curve(run, setting) for run in group] for label, group in by_label(runs).items()}
    accuracies = [_accuracy(curves) for curves in groups.values()]
    shown = looks([group[0] for group in by_label(runs).values()])
    handles, radii = [], next(iter(groups.values()))[0].radii
    for look, (label, curves), accuracy in zip(shown, groups.items(), accuracies, strict=True):
        name = f"{label}, n = {curves[0].images:,}" if len(curves) == 1 else f"{label}, {len(curves)} seeds"
        band = len(groups) <= MOST_IN_ONE
        handles.append(banded_line(ax, radii, accuracy, look.color, look.style, name, band=band))
    _finish(ax, float(radii[-1]), handles)
    footnote(own, f"{images_of(runs)}; {_about_intervals(accuracies)}; {_about_masking(groups)}")
    return ax


def eps_curve(run: Run, setting: str = "minimal_eps") -> EpsCurve:
    """Accuracy at 0 and every radius of the grid, of the images that the run holds."""
    names = [f"{name}[linf{_tail(setting)}]" for name in ("eps_min", "broken_by")]
    need_columns([run], names, "minimal_eps")
    eps, broken_by = (run.samples[name].to_numpy(np.float64) for name in names)
    if not len(eps):
        raise UserError(f"run {run.label} has no image to draw; select others")
    *radii, large = run.arrays[f"{setting}/curve/eps"].tolist()
    # Broken at the grid's top is not withstanding it, though eps_min is the same.
    beyond = np.where(broken_by == NOTHING, np.inf, np.where(broken_by == LARGE, large, eps))
    shares = np.array([share_interval(int((beyond > radius).sum()), len(beyond)) for radius in (*radii, large)])
    return EpsCurve(np.array(radii), 100 * shares[:-1].T, large, 100 * float(shares[-1, 0]), len(eps))


def _accuracy(curves: Sequence[EpsCurve]) -> NDArray:
    """Of one run over its images, of several over seeds, ``(3, N)``."""
    return curves[0].accuracy if len(curves) == 1 else percent_over_seeds([c.accuracy[0] / 100 for c in curves])


def _tail(setting: str) -> str:
    """``minimal_eps[points=7]`` → ``,points=7``, as its columns have it."""
    inside = Name.parse(setting).parameters
    return f",{inside}" if inside else ""


def _finish(ax: Axes, top: float, handles: list[Line2D]) -> None:
    ax.set(xlabel="radius ε (L∞, images in [0, 1])", ylabel="accuracy (%)", xlim=(0, top), ylim=(0, 102))
    above = ax.secondary_xaxis("top", functions=(partial(np.multiply, 255), partial(np.multiply, 1 / 255)))
    above.set_xlabel("ε (1/255)")
    above.tick_params(labelsize=7)
    ax.legend(handles=handles)


def _about_intervals(accuracies: Sequence[NDArray]) -> str:
    bands = "bands" if len(accuracies) <= MOST_IN_ONE else "not drawn"
    widest = max(np.nanmax(high - low, initial=0) for _, low, high in accuracies)
    return f"95 % intervals ({bands}) are at most {widest:.1f} points wide"


def _about_masking(groups: Mapping[str, Sequence[EpsCurve]]) -> str:
    at_large = {label: np.mean([curve.at_large for curve in curves]) for label, curves in groups.items()}
    said = ", ".join(f"{label} {accuracy:.1f} %" for label, accuracy in at_large.items())
    return f"accuracy at ε = {next(iter(groups.values()))[0].large:g}, which is 0 unless gradients are masked: {said}"
