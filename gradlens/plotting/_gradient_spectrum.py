from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from numpy.typing import NDArray

from gradlens.core.registry import figure
from gradlens.core.types import UserError
from gradlens.plotting.panels import cell_width, curve, footnote, legend, need_array, one_panel
from gradlens.plotting.style import MUTED, enlarged, looks
from gradlens.runs.record import Run

TICKS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
# Named ones that fit into an inch of a figure.
OCTAVES = 1.8


@figure
def gradient_spectrum(runs: Sequence[Run], ax: Axes | None = None) -> Axes:
    """Mean radial energy of the gradients against spatial frequency, a curve a run, and that of the images, dashed.

    Energy is a coefficient's, as a multiple of the mean over an image's frequencies, so white noise lies
    at 1; zero frequency is left out. Bands are 95 % intervals of the mean over images. Source: Field
    1987, for images.
    """
    images = [_spectrum(run, "image") for run in runs]
    shared = all(np.array_equal(image[1], images[0][1]) for image in images)
    drawn, ax = one_panel(ax)
    for look, run, image in zip(looks(runs), runs, images, strict=True):
        curve(ax, run.label, *_spectrum(run, "gradient"), color=look.color, ls=look.style)
        if not shared:
            curve(ax, f"images of {run.label}", *image, color=look.color, ls="--")
    if shared:
        curve(ax, "images", *images[0], color=MUTED, ls="--")
    ax.axhline(1, color=MUTED, lw=0.6, ls=":", label="white noise")
    ax.set(xscale="log", yscale="log", xlabel="spatial frequency (cycles a pixel)", ylabel="energy (mean = 1)")
    limits = ax.get_xlim()
    # Every octave has a tick; where they are many, every second or third has a name.
    step = 1 + int(np.log2(limits[1] / limits[0]) * enlarged() / (OCTAVES * cell_width(ax)))
    ax.set_xticks([1 / n for n in TICKS], [f"1/{n}" if k % step == 0 else "" for k, n in enumerate(TICKS)])
    ax.xaxis.set_minor_locator(NullLocator())
    # Ticks beyond the curves would have widened the axis.
    ax.set_xlim(limits)
    legend(drawn, ax)
    footnote(drawn, "means over images with 95 % intervals", runs)
    return ax


def _spectrum(run: Run, what: str) -> NDArray:
    """Frequency at the middle of each ring, energy a coefficient and its 95 % limits, ``(4, N)``."""
    edges, mean, error = (
        need_array(run, f"gradient_spectrum/{name}") for name in ("edges", f"{what}_mean", f"{what}_error")
    )
    seen, half = mean > 0, 1.96 * np.nan_to_num(error)
    if not seen.any():
        raise UserError(f"run {run.label} has no {what} with energy in any frequency; see gradient_flag")
    # A band that reaches zero has no place on a logarithmic axis.
    low = np.maximum(mean - half, mean / 100)
    return np.array([np.sqrt(edges[1:] * edges[:-1]), mean, low, mean + half])[:, seen]
