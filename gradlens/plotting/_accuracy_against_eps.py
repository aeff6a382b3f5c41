from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from gradlens.core.names import Name
from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting.panels import curve, footnote, need_columns, one_panel, one_setting
from gradlens.plotting.style import looks
from gradlens.runs.record import Run
from gradlens.stats.intervals import share_interval

# Codes of minimal_eps' column broken_by.
LARGE, NOTHING = 4, 5
# Bands of more curves, or of so many points of accuracy, would hide the curves.
BANDED, WIDEST = 2, 50


class EpsCurve(NamedTuple):
    """Accuracy of one run in percent at each radius, with its Wilson limits ``(3, N)``, and at the large one."""

    radii: NDArray
    accuracy: NDArray
    large: float
    at_large: float
    images: int


@figure
def accuracy_against_eps(runs: Sequence[Run], ax: Axes | None = None) -> Axes:
    """Accuracy under attack against the radius ε, a curve a model, from ``minimal_eps``.

    On its grid the worst of several attacks; under ``search=bisection`` at a hundred radii up to the last that
    broke an image. Bands are 95 % Wilson intervals over images. Accuracy at the large radius, below the
    figure, must be near 0, or gradients are masked. Source: Rodríguez-Muñoz et al. 2024, Fig. 2.
    """
    own, ax = one_panel(ax, rest=0.4)
    setting = one_setting(runs, "minimal_eps", "curve/eps")
    curves = [eps_curve(run, setting) for run in runs]
    banded = len(runs) <= BANDED and _widest(curves) <= WIDEST
    for look, run, found in zip(looks(runs), runs, curves, strict=True):
        accuracy, *limits = found.accuracy if banded else found.accuracy[:1]
        curve(ax, f"{run.label}, n = {found.images:,}", found.radii, accuracy, *limits, color=look.color, ls=look.style)
    _finish(ax, max(float(found.radii[-1]) for found in curves), _norm(setting))
    footnote(own, _note(runs, curves, banded), runs)
    return ax


def eps_curve(run: Run, setting: str = "minimal_eps") -> EpsCurve:
    """Accuracy at 0 and every radius of the grid, of the images that the run holds."""
    names = [f"{name}{_tail(setting)}" for name in ("eps_min", "broken_by")]
    need_columns([run], names, "minimal_eps")
    eps, broken_by = (run.samples[name].to_numpy(np.float64) for name in names)
    if not len(eps):
        raise UserError(f"run {run.label} has no image to draw; select others")
    *radii, large = run.arrays[f"{setting}/curve/eps"].tolist()
    # Broken at the grid's top is not withstanding it, though eps_min is the same.
    beyond = np.where(broken_by == NOTHING, np.inf, np.where(broken_by == LARGE, large, eps))
    shares = np.array([share_interval(int((beyond > radius).sum()), len(beyond)) for radius in (*radii, large)])
    return EpsCurve(np.array(radii), 100 * shares[:-1].T, large, 100 * float(shares[-1, 0]), len(eps))


def _tail(setting: str) -> str:
    """``minimal_eps[points=7]`` → ``[linf,points=7]``, as its columns have it."""
    others = [part for part in Name.parse(setting).parameters.split(",") if part and not part.startswith("norm=")]
    return f"[{','.join([_norm(setting), *others])}]"


def _norm(setting: str) -> str:
    return "l2" if "norm=l2" in Name.parse(setting).parameters.split(",") else "linf"


def _finish(ax: Axes, top: float, norm: str) -> None:
    shown = {"linf": "L∞", "l2": "L2"}[norm]
    ax.set(xlabel=f"radius ε ({shown}, images in [0, 1])", ylabel="accuracy (%)", xlim=(0, top or 1), ylim=(0, 102))
    if norm == "linf":
        above = ax.secondary_xaxis("top", functions=(partial(np.multiply, 255), partial(np.multiply, 1 / 255)))
        above.set_xlabel("ε (1/255)")
    ax.legend()


def _widest(curves: Sequence[EpsCurve]) -> float:
    return max(float(np.nanmax(high - low, initial=0)) for _, low, high in (found.accuracy for found in curves))


def _note(runs: Sequence[Run], curves: Sequence[EpsCurve], banded: bool) -> str:
    bands = "bands" if banded else "not drawn"
    at_large = ", ".join(f"{run.label} {found.at_large:.1f} %" for run, found in zip(runs, curves, strict=True))
    larges = {found.large for found in curves}
    where = f"ε = {larges.pop():.3g}" if len(larges) == 1 else "the largest ε"
    return (
        f"95 % intervals ({bands}) are at most {_widest(curves):.1f} points wide; accuracy at "
        f"{where}, which is 0 unless gradients are masked: {at_large}"
    )
