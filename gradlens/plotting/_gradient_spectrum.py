from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting._looks import looks
from gradlens.plotting.panels import footnote, images_of, need_array, one_panel
from gradlens.plotting.style import MUTED
from gradlens.runs.record import Run

TICKS = (128, 64, 32, 16, 8, 4, 2)


class Curve(NamedTuple):
    """Energy a coefficient at the middle of each ring, in cycles a pixel, with half its 95 % interval."""

    frequency: NDArray
    mean: NDArray
    half: NDArray


@figure
def gradient_spectrum(runs: Sequence[Run], ax: Axes | None = None) -> Axes:
    """Mean radial energy of the gradients against spatial frequency, a curve a run, and that of the images, dashed.

    Energy is a coefficient's, as a multiple of the mean over an image's frequencies, so white noise lies
    at 1; zero frequency is left out. Bands are 95 % intervals of the mean over images. Source: Field
    1987, for images.
    """
    pictures = [_curve(run, "image") for run in runs]
    shared = all(np.array_equal(picture.mean, pictures[0].mean) for picture in pictures)
    drawn, ax = one_panel(ax)
    for look, run, picture in zip(looks(runs), runs, pictures, strict=True):
        _draw(ax, _curve(run, "gradient"), look.color, look.style, run.label)
        if not shared:
            _draw(ax, picture, look.color, "--", f"images of {run.label}")
    if shared:
        _draw(ax, pictures[0], MUTED, "--", "images")
    ax.axhline(1, color=MUTED, lw=0.6, ls=":", label="white noise")
    ax.set(xscale="log", yscale="log", xlabel="spatial frequency (cycles a pixel)", ylabel="energy (mean = 1)")
    limits = ax.get_xlim()
    ax.set_xticks([1 / n for n in TICKS], [f"1/{n}" for n in TICKS])
    ax.xaxis.set_minor_locator(NullLocator())
    # Ticks beyond the curves would have widened the axis.
    ax.set_xlim(limits)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    footnote(drawn, f"means over images with 95 % intervals; {images_of(runs)}")
    return ax


def _curve(run: Run, what: str) -> Curve:
    edges, mean, error = (
        need_array(run, f"gradient_spectrum/{name}", "gradient_spectrum")
        for name in ("edges", f"{what}_mean", f"{what}_error")
    )
    seen = mean > 0
    if not seen.any():
        raise UserError(f"run {run.label} has no {what} with energy in any frequency; see gradient_flag")
    return Curve(np.sqrt(edges[1:] * edges[:-1])[seen], mean[seen], 1.96 * np.nan_to_num(error)[seen])


def _draw(ax: Axes, curve: Curve, color: str, style: str, label: str) -> None:
    ax.plot(curve.frequency, curve.mean, color=color, ls=style, label=label)
    # A band that reaches zero has no place on a logarithmic axis.
    low = np.maximum(curve.mean - curve.half, curve.mean / 100)
    ax.fill_between(curve.frequency, low, curve.mean + curve.half, color=color, alpha=0.2, lw=0)
