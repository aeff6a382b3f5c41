from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from gradlens.analyzers._base import Analyzer, Reading, Summary, means
from gradlens.core.registry import analyzer
from gradlens.probes.probe import Images, Probe
from gradlens.stats.tallies import Moments

# Rings of frequency are constants of the program, so that runs overlay at any size: three an octave,
# from 1/1024 cycle a pixel to beyond the corner at √½; the first also holds what is below.
EDGES = 2.0 ** (np.arange(-30, 0) / 3)
RINGS = len(EDGES) - 1
QUARTER = int(np.searchsorted(EDGES, 1 / 4))
OCTAVES = slice(QUARTER - 6, QUARTER - 3), slice(QUARTER, QUARTER + 3)
NOTHING = "no image has a gradient with energy in both octaves"
COLUMNS = ("spectrum_centroid", "spectrum_high", "spectrum_slope")


@analyzer
@dataclass
class GradientSpectrum(Analyzer):
    """How fine the gradient's structure is: its energy by spatial frequency, in cycles a pixel.

    The energy of a frequency is Σ_c |F_c|² of the channels' Fourier transforms, without frequency
    zero (the channels' means) and without a window, so what differs between opposite borders counts
    as a jump. ``spectrum_centroid``: mean frequency, weighted by energy; 0.383 for white noise.
    ``spectrum_high``: part of the energy at a quarter cycle a pixel and above; 0.804 for white noise,
    less for smooth gradients. ``spectrum_slope``: how log energy falls with log frequency from the
    octave [1/16, 1/8) to the octave [1/4, 1/2); 0 for white noise, about −2 for photographs; missing
    where an octave is empty, as in images of 8 pixels.

    Arrays: ``gradient_mean``, over images, of the energy a coefficient in rings of frequency as a
    multiple of the mean over all of them, so 1 for white noise; ``gradient_error``, its standard error;
    ``image_mean`` and ``image_error``, the same of the images themselves; ``edges`` of the rings. Rings
    without a coefficient at the run's size are NaN. Source: Field 1987, for images.
    """

    readings = (
        Reading("gradient's mean frequency", "spectrum_centroid_mean", "cycles a pixel; 0.383 for white noise"),
        Reading("   energy above 1/4", "spectrum_high_mean", "0.804 for white noise, less when smooth"),
        Reading("   slope", "spectrum_slope_mean", "of log energy; 0 for white noise, natural images near −2"),
    )

    objective: str = "loss"
    _size: tuple[int, int] = field(default=(0, 0), init=False, repr=False)

    def fit(self, pilot: Probe) -> None:
        """Learn the images' size."""
        height, width = pilot.batch.image.shape[2:]
        self._size = (height, width)

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        energy, centroid = self._spectrum(probe)
        low, high = (energy[:, rings].sum(1) for rings in OCTAVES)
        wide, wider = (_rings(*probe.batch.image.shape[2:]).coefficients[rings].sum() for rings in OCTAVES)
        # An image of a few pixels has no such rings, and so no slope.
        with np.errstate(divide="ignore", invalid="ignore"):
            widening = wide / wider
        slope = (high / low * widening).log() / math.log(4)
        return {
            "spectrum_centroid": centroid,
            "spectrum_high": energy[:, QUARTER:].sum(1) / energy.sum(1),
            "spectrum_slope": slope.where(slope.isfinite(), torch.nan),
        }

    def tallies(self) -> dict[str, Moments]:
        return {"gradient": Moments(RINGS), "image": Moments(RINGS)}

    def observe(self, probe: Probe) -> dict[str, tuple[NDArray, ...]]:
        energies = {"gradient": self._spectrum(probe).energy, "image": radial_spectrum(probe.batch.image).energy}
        return {name: ((e / e.sum(1, keepdim=True)).cpu().numpy(),) for name, e in energies.items()}

    def summarize(self, samples: pd.DataFrame, tallies: Mapping[str, Any]) -> Summary:
        """Means with 95 % intervals; the mean spectrum by ring with its standard error, and the rings' edges."""
        scalars = means(samples, COLUMNS)
        coefficients = _rings(*self._size).coefficients
        with np.errstate(divide="ignore", invalid="ignore"):
            a_coefficient = np.where(coefficients > 0, coefficients.sum() / coefficients, np.nan)
        arrays = {"edges": EDGES}
        for name, tally in tallies.items():
            arrays |= {
                f"{name}_mean": tally.mean * a_coefficient,
                f"{name}_error": tally.standard_error * a_coefficient,
            }
        missing = {key: NOTHING for key in (f"{name}_mean" for name in COLUMNS) if not np.isfinite(scalars[key])}
        return Summary(scalars, arrays, missing)

    def _spectrum(self, probe: Probe) -> Spectrum:
        direction = probe.scaled_gradient(self.objective).direction
        # At unit size, so that no square underflows.
        size = direction.abs().amax((1, 2, 3), keepdim=True)
        return probe.once(("spectrum", self.objective), lambda: radial_spectrum(direction / size))


class Spectrum(NamedTuple):
    """Energy in each ring ``(B, RINGS)`` and mean frequency ``(B,)``, float64; no energy has no frequency."""

    energy: Float[Tensor, "b r"]
    centroid: Float[Tensor, "b"]


class Rings(NamedTuple):
    """The Fourier coefficients of one size of image, as ``rfft2`` gives them, flattened.

    radius in cycles a pixel; weight: how many coefficients of the full transform each stands for, 0 for
    frequency zero; order sorts them by ring, of which ring r has ``lengths[r]`` here and
    ``coefficients[r]`` in full.
    """

    radius: NDArray[np.float64]
    weight: NDArray[np.float64]
    order: NDArray[np.int64]
    lengths: list[int]
    coefficients: NDArray[np.float64]


def radial_spectrum(images: Images) -> Spectrum:
    """The spectrum of ``(B, C, H, W)``, channels added; its energy is their squared norm without means (Parseval)."""
    height, width = images.shape[2:]
    rings = _rings(height, width)
    # Taken out beforehand, or it would drown the rest in float32.
    transform = torch.fft.rfft2(images - images.mean((2, 3), keepdim=True))
    power = (transform.real.square() + transform.imag.square()).sum(1).flatten(1).double()
    power = power * torch.from_numpy(rings.weight).to(power) / (height * width)
    by_ring = power[:, torch.from_numpy(rings.order).to(power.device)].split(rings.lengths, 1)
    centroid = (power * torch.from_numpy(rings.radius).to(power)).sum(1) / power.sum(1)
    return Spectrum(torch.stack([ring.sum(1) for ring in by_ring], 1), centroid)


@lru_cache(maxsize=4)
def _rings(height: int, width: int) -> Rings:
    columns = np.fft.rfftfreq(width)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], columns)
    # Columns in between stand for their mirror images too.
    weight = np.where((columns == 0) | (columns == 0.5), 1.0, 2.0) * (radius > 0)
    radius, weight = radius.ravel(), weight.ravel()
    ring = np.maximum(np.searchsorted(EDGES, radius, side="right") - 1, 0)
    lengths: list[int] = np.bincount(ring, minlength=RINGS).tolist()
    coefficients: NDArray[Any] = np.bincount(ring, weight, RINGS)
    return Rings(radius, weight, np.argsort(ring, kind="stable"), lengths, coefficients)
