"""Distributions over images of how curved and how straight the loss is."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradlens.core.registry import figure
from gradlens.plotting._gradient_norm_distribution import distribution
from gradlens.plotting.panels import need_columns
from gradlens.runs.record import Run


@figure
def curvature_distribution(runs: Sequence[Run], ax: Axes | None = None, column: str = "curvature") -> Figure | Axes:
    """The distribution over images of the loss's curvature, drawn as the gradient's size is.

    column: ``hessian_norm`` for the spectral norm by itself. Robust models lie decades to the left. Source:
    Rodríguez-Muñoz et al. 2024.
    """
    need_columns(runs, [column], "curvature")
    label = "curvature (per unit pixel)" if column == "curvature" else "Hessian norm (nats per unit pixel²)"
    return distribution(runs, ax, column, "all", label)


@figure
def linearity_distribution(runs: Sequence[Run], ax: Axes | None = None) -> Figure | Axes:
    """The distribution over images of the linearity error, drawn as the gradient's size is.

    Robust models lie decades to the left: within the ball their loss is a plane. Source: Rodríguez-Muñoz et al. 2024.
    """
    need_columns(runs, ["linearity_error"], "linearity")
    return distribution(runs, ax, "linearity_error", "all", "linearity error (nats²)")
